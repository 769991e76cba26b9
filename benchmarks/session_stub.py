"""A session service that is always fast and always says yes: what a first write costs is then the sidecar's own.

`PUT` answers 201 with the id and owner asked for, the event stream beats, `/benchmark/count` tells how many
`PUT`s came.
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import unquote

import orjson

from benchmarks.tiny_http import Request, answer, serve

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
HEARTBEAT, BEAT_EVERY_S = b": heartbeat\n\n", 2.0
NOW = "2025-01-01T00:00:00Z"
puts = 0


def handle(request: Request) -> bytes | None:
    if request.method == b"PUT":
        return _ensure(request)
    if request.target.startswith(b"/api/v1/session-events"):
        request.transport.write(STREAM)
        _beat(request.transport)
        return None
    if request.target == b"/benchmark/count":
        return answer("200 OK", str(puts).encode())
    return answer("200 OK", b'{"status":"healthy"}')


def _ensure(request: Request) -> bytes:
    global puts  # noqa: PLW0603 - the one number this process is asked for
    puts += 1
    session = {
        "session_id": unquote(request.target.rpartition(b"/")[2].decode()),
        "user_id": orjson.loads(request.body)["user_id"],
        "status": "active",
        "conversation_data": {},
        "metadata": {},
        "created_at": NOW,
        "updated_at": NOW,
    }
    return answer("201 Created", orjson.dumps(session))


def _beat(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write(HEARTBEAT)
        asyncio.get_running_loop().call_later(BEAT_EVERY_S, _beat, transport)


if __name__ == "__main__":
    serve(handle, int(sys.argv[1]))
