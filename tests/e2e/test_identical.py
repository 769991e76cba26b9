"""A table of requests sent directly and through a real sidecar: but for three fields, both ends see the same."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.platform import STORE
from tests.support.processes import Running, running
from tests.support.servers import served
from tests.support.wire import OK, Answered, RawUpstream, Seen, ask, get, post, raw_upstream

FORWARDED = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}

WRITE = json.dumps({"user_id": "u1", "session_id": "s1", "message_content": "Hello"}).encode()
CHINESE = json.dumps({"user_id": "u1", "session_id": "s2", "message_content": "你好"}, ensure_ascii=False).encode()
ESCAPED = json.dumps({"user_id": "u1", "session_id": "s2", "message_content": "你好"}).encode()
NESTED = b'{ "memory_type":"factual","user_id":"u1", "context" : {"session_id":"s3"},"content":"x" }\n'
CALL = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
    b'"params":{"name":"store_session_message","arguments":{"user_id":"u1","session_id":"s4"}}}'
)
INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}'
FORM = b"user_id=u1&session_id=s5&message_content=a+b%20c"
MULTIPART = (
    b'--B\r\nContent-Disposition: form-data; name="session_id"\r\n\r\ns6\r\n'
    b'--B\r\nContent-Disposition: form-data; name="user_id"\r\n\r\nu1\r\n--B--\r\n'
)
JSON = "Content-Type: application/json"

REQUESTS: dict[str, bytes] = {
    "a plain read": get("/api/v1/memories?user_id=u1"),
    "a read with an encoded path": get("/api/v1/memories/session/a%2Fb/context?user_id=u%201"),
    "a bare question mark": get("/health?"),
    "a doubled slash outside the guarded prefix": get("//other//path"),
    "dot segments outside the guarded prefix": get("/other/../path/./x"),
    "an absolute target": get("http://memory.example/health"),
    "odd characters in the query": get("/health?a=%zz&b=c=d&&e;f|g"),
    "options for everything": get("*", method="OPTIONS"),
    "a head request": get("/health", method="HEAD"),
    "a delete": get("/api/v1/memories/factual/1?user_id=u1", method="DELETE"),
    "an unusual method": get("/other", method="PROPFIND"),
    "duplicate fields": get("/health", "X-Tag: one", "X-Tag: two", "x-tag: three"),
    "an empty field": get("/health", "X-Empty:"),
    "fields with odd bytes": get("/health", "X-Latin: caf\xe9", 'X-Quoted: "a, b"; c=1'),
    "mixed case of field names": get("/health", "x-LOWER-Upper: 1", "ACCEPT: */*"),
    "cookies": get("/health", "Cookie: a=1; b=2", "Cookie: c=3"),
    "authorization": get("/health", "Authorization: Bearer abc.def"),
    "the tracking header of isA clients": get("/health", "X-Session-ID: whatever"),
    "a conditional read": get("/health", 'If-None-Match: "abc"', "Range: bytes=0-1"),
    "a trace context": get("/health", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    "an accepted coding": get("/health", "Accept-Encoding: gzip, br", "Accept: text/html;q=0.9, */*"),
    "a first write": post(STORE, WRITE, JSON),
    "a write of a known session": post(STORE, WRITE, JSON),
    "Chinese text as it is": post(STORE, CHINESE, JSON),
    "Chinese text escaped": post(STORE, ESCAPED, "content-type: application/json; charset=utf-8"),
    "a session in the context, oddly spaced": post("/api/v1/memories", NESTED, JSON),
    "a write without a content type": post(STORE, WRITE),
    "a write said to be text": post(STORE, WRITE, "Content-Type: text/plain"),
    "a write without a session": post("/api/v1/memories", b'{"memory_type":"factual","user_id":"u1"}', JSON),
    "a put": post("/api/v1/memories/factual/1", WRITE, JSON, method="PUT"),
    "a patch": post("/api/v1/memories/factual/1", WRITE, JSON, method="PATCH"),
    "an urlencoded form": post(STORE, FORM, "Content-Type: application/x-www-form-urlencoded"),
    "a multipart form": post(STORE, MULTIPART, "Content-Type: multipart/form-data; boundary=B"),
    "a compressed write": post(STORE, gzip.compress(WRITE, mtime=0), JSON, "Content-Encoding: gzip"),
    "an empty post": post(STORE, b""),
    "a session in the path, its user in the query": post("/api/v1/memories/session/s7/summarize?user_id=u1", b""),
    "an MCP call": post("/mcp", CALL, JSON, "Accept: application/json, text/event-stream", "Mcp-Session-Id: abc"),
    "an MCP initialization": post("/mcp", INITIALIZE, JSON, "Accept: application/json, text/event-stream"),
    "an upload elsewhere": post("/other", bytes(range(256)) * 100, "Content-Type: application/octet-stream"),
    "a chunked upload elsewhere": get("/other", "Transfer-Encoding: chunked", method="POST")
    + b"4\r\nabcd\r\n0\r\n\r\n",
    "an expectation": post("/other", b"abc", "X-Expect-Nothing: 1"),
}

ANSWERS: dict[str, bytes] = {
    "created, with fields twice": b"HTTP/1.1 201 Created\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Case: 1\r\n"
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: memory\r\nContent-Length: 2\r\n\r\nok",
    "an unusual reason": b"HTTP/1.1 299 As You Like It\r\nContent-Length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx",
    "no content": b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    "not modified, with a length": b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 77\r\n\r\n',
    "a redirect": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere?x=1\r\nContent-Length: 0\r\n\r\n",
    "an error with text": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
    "a coding left alone": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00",
    "an authentication": b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
}  # fmt: skip


async def put(request: Request) -> Response:
    """A session service that agrees to everything."""
    user = (await request.json())["user_id"]
    return JSONResponse({"session_id": request.path_params["id"], "user_id": user, "status": "active"}, 201)


@pytest.fixture(scope="module")
def session_service() -> AsyncIterator[str]:
    with served(Starlette(routes=[Route("/api/v1/sessions/{id}", put, methods=["PUT"])])) as url:
        yield url  # type: ignore[misc]


@pytest.fixture(params=["true", "false"], ids=["fast path", "application"])
async def stage(
    request: pytest.FixtureRequest, session_service: str, tmp_path: Path
) -> AsyncIterator[tuple[RawUpstream, Running]]:
    """A recording upstream and a sidecar before it."""
    async with raw_upstream() as upstream:
        env = {
            "SIDECAR_LISTEN": "127.0.0.1:0",
            "SIDECAR_ADMIN": "127.0.0.1:0",
            "SIDECAR_UPSTREAM": upstream.url,
            "SIDECAR_SESSION_SERVICE": session_service,
            "SIDECAR_FAST_LANE": request.param,
        }
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            yield upstream, sidecar


def without_forwarded(seen: Seen) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """What the upstream saw, but for the three fields that a proxy adds."""
    return seen.line, [field for field in seen.fields if field[0].lower() not in FORWARDED], seen.body


def visible(answer: Answered) -> tuple[int, bytes, list[tuple[bytes, bytes]], bytes]:
    """What the client saw."""
    return answer.status, answer.reason, answer.fields, answer.body


async def both(stage: tuple[RawUpstream, Running], request: bytes) -> tuple[Answered, Answered]:
    """Send the request directly, then through the sidecar; give both answers."""
    upstream, sidecar = stage
    method = request.split(b" ", 1)[0].decode()
    port = int(sidecar.addresses["listen"].rpartition(":")[2])
    direct = await asyncio.wait_for(ask(upstream.port, request, method=method), 10)
    through = await asyncio.wait_for(ask(port, request, method=method), 10)
    return direct, through


async def test_the_upstream_sees_the_same_requests(stage: tuple[RawUpstream, Running]) -> None:
    """Target, fields with their order, duplicates and case, and body bytes are the same."""
    upstream, _ = stage
    for name, request in REQUESTS.items():
        upstream.seen.clear()
        await both(stage, request)
        assert len(upstream.seen) == 2, name
        direct, through = upstream.seen
        assert without_forwarded(through) == without_forwarded(direct), name
        assert {field[0].lower() for field in through.fields} >= FORWARDED, name


async def test_the_client_sees_the_same_answers(stage: tuple[RawUpstream, Running]) -> None:
    """Status, reason, fields with their order, and body bytes are the same."""
    upstream, _ = stage
    for name, answer in ANSWERS.items():
        upstream.answer = lambda *_, answer=answer: answer
        for request in (REQUESTS["a plain read"], REQUESTS["a write of a known session"]):
            direct, through = await both(stage, request)
            assert visible(through) == visible(direct), name
    upstream.answer = lambda *_: OK


def test_the_table_is_long_enough() -> None:
    """The table has at least thirty requests."""
    assert len(REQUESTS) >= 30
