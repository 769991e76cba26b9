"""An upstream that keeps the order in which numbered requests were complete.

The last segment of a target under `/arrivals/` is the request's number. `/benchmark/arrivals` answers with the numbers
as a JSON array and forgets them. A target of another kind is answered and not kept.
"""

from __future__ import annotations

import sys

import orjson

from benchmarks.tiny_http import Request, answer, serve

KEPT, TAKEN = "/arrivals/", "/benchmark/arrivals"
numbers: list[int] = []


def handle(request: Request) -> bytes:
    target = request.target.decode()
    if target == TAKEN:
        body = orjson.dumps(numbers)
        numbers.clear()
        return answer("200 OK", body)
    if target.startswith(KEPT):
        numbers.append(int(target.removeprefix(KEPT)))
    return answer("200 OK", b"{}")


if __name__ == "__main__":
    serve(handle, int(sys.argv[1]))
