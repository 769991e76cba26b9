"""The checker that other proxies ask before they forward, on their core: it is part of what they need for the job.

Where it is sent the body it reads the ids, compares the owner and learns what it has not seen; otherwise it only
looks whether the request says `X-Refuse`. It is minimal on purpose: all that it lacks makes it faster.
"""

from __future__ import annotations

import sys

import orjson

from benchmarks.tiny_http import Request, answer, serve

YES, NO = answer("200 OK", b""), answer("403 Forbidden", b"")
owners: dict[str, str] = {}


def is_owners(body: bytes) -> bool:
    """Whether the write is its session's owner's; the first to name a session owns it."""
    document = orjson.loads(body)
    fields = document["params"]["arguments"] if "params" in document else document
    return owners.setdefault(fields["session_id"], fields["user_id"]) == fields["user_id"]


def check(request: Request) -> bytes:
    allowed = is_owners(request.body) if request.body else b"x-refuse" not in request.raw.lower()
    return YES if allowed else NO


if __name__ == "__main__":
    serve(check, int(sys.argv[1]))
