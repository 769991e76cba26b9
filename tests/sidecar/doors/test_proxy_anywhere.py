"""The proxy's application under servers that are not ours: the same decisions, and what those servers cannot give."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from sidecar import SessionGuard, Settings
from sidecar.doors.proxy import proxy_app
from sidecar.guard.ports import Telemetry
from sidecar.http.client.forwarder import Forwarder
from sidecar.http.client.upstream import Upstream
from sidecar.testing import serve_session_service
from tests.doors.cases import CASES, MAX_BODY, OUTAGE_CASES, STORE, Case
from tests.support.doors import Door, Recorder, Serve, recording, under_hypercorn, under_uvicorn
from tests.support.wire import (
    OK,
    Answer,
    Answered,
    RawUpstream,
    Seen,
    ask,
    get,
    post,
    raw_client,
    raw_upstream,
    read_answer,
)

ANN = b'{"user_id": "ann", "session_id": "s1"}'
SERVERS = {"uvicorn": under_uvicorn, "hypercorn": under_hypercorn}
each_server = pytest.mark.parametrize("serve", list(SERVERS.values()), ids=list(SERVERS))


class HostedProxy:
    """The proxy's application with the parts that it needs, which its lifespan starts and stops."""

    def __init__(self, upstream_url: str, session_service_url: str, **settings: Any) -> None:
        self._settings = Settings(upstream=upstream_url, session_service=session_service_url, **settings)
        self._app: Starlette | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            assert self._app is not None
            await self._app(scope, receive, send)
            return
        await receive()
        upstream = Upstream(self._settings.upstream, telemetry=Telemetry())
        async with SessionGuard(self._settings) as guard:
            self._app = proxy_app(Forwarder(upstream), guard.guarding)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await upstream.close()
        await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture(scope="module", params=list(SERVERS.values()), ids=list(SERVERS))
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    serve: Serve = request.param
    recorder = Recorder()

    with serve_session_service() as sessions, under_uvicorn(recording(recorder)) as upstream:
        proxy = HostedProxy(f"http://127.0.0.1:{upstream}", sessions.url, max_body=MAX_BODY)
        with serve(proxy) as port:
            yield Door(port, sessions, recorder)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_proxy_under_a_foreign_server_passes_the_table(door: Door, case: Case) -> None:
    """Status, reason, sessions created, and what the memory service saw are as the table says."""
    await door.passes(case)


@pytest.mark.parametrize("case", OUTAGE_CASES, ids=str)
async def test_the_proxy_under_a_foreign_server_passes_the_table_of_outages(door: Door, case: Case) -> None:
    """While the session service is down, guarded writes are refused and all else passes."""
    await door.passes(case, in_outage=True)


@contextlib.asynccontextmanager
async def hosted(serve: Serve, answer: Answer | bytes = OK) -> AsyncIterator[tuple[int, RawUpstream]]:
    """Run the proxy under a server in front of a raw upstream; gives the port and the upstream."""
    with serve_session_service() as sessions:
        async with raw_upstream(answer) as upstream:
            with contextlib.ExitStack() as stack:
                proxy = HostedProxy(upstream.url, sessions.url)
                # The server runs in its own thread, but starts and stops in this one, where the upstream runs.
                port = await asyncio.to_thread(stack.enter_context, serve(proxy))
                try:
                    yield port, upstream
                finally:
                    await asyncio.to_thread(stack.close)


@each_server
async def test_target_query_host_and_body_arrive_as_they_were_sent(serve: Serve) -> None:
    """The target keeps its percent-encodings, and the body its bytes."""
    async with hosted(serve) as (port, upstream):
        request = post("/api/v1/other/a%2Fb%20c?x=%C3%A9&y", b'{"a":  1}')
        assert (await ask(port, request)).status == 200
        (seen,) = upstream.seen
    assert seen.line == b"POST /api/v1/other/a%2Fb%20c?x=%C3%A9&y HTTP/1.1"
    assert seen.values("host") == [b"memory.example"]
    assert seen.body == b'{"a":  1}'
    assert seen.values("x-forwarded-for") == [b"127.0.0.1"]


@each_server
async def test_a_chunked_body_stays_chunked(serve: Serve) -> None:
    """A chunked body is forwarded as chunks, with the same content."""
    async with hosted(serve) as (port, upstream):
        body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        request = get("/x", "Transfer-Encoding: chunked", method="POST") + body
        assert (await ask(port, request)).status == 200
        (seen,) = upstream.seen
    assert seen.values("transfer-encoding") == [b"chunked"]
    assert dechunked(seen.body) == b"hello world"


def dechunked(body: bytes) -> bytes:
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        content, body = content + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return content


@each_server
async def test_a_chunked_response_is_streamed_piece_by_piece(serve: Serve) -> None:
    """The client has the first piece before the upstream sends the second."""
    go_on = asyncio.Event()

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await go_on.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with hosted(serve, answer) as (port, _upstream), raw_client(port) as client:
        await client.send(get("/x"))
        assert b"one" in await client.reader.readuntil(b"one\r\n")
        go_on.set()
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


@each_server
async def test_a_response_that_is_cut_never_looks_complete(serve: Serve) -> None:
    """The server closes the connection before the declared length is reached."""

    def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    async with hosted(serve, answer) as (port, _upstream):
        answered = await ask(port, get("/x"))
    assert answered.status == 200
    assert not answered.complete


@each_server
async def test_a_client_that_goes_away_has_its_upstream_request_cancelled(serve: Serve) -> None:
    """The upstream's connection is closed although its response has not begun."""
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def answer(seen: Seen, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await seen.reader.read()
        closed.set()

    async with hosted(serve, answer) as (port, _upstream):
        async with raw_client(port) as client:
            await client.send(post("/x", b"{}"))
            await arrived.wait()
        await closed.wait()


@each_server
async def test_an_interim_response_is_dropped(serve: Serve) -> None:
    """ASGI has no message for it; the final response arrives alone."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK
    async with hosted(serve, hints) as (port, _upstream):
        assert (await ask(port, get("/x"))).status == 200


@each_server
async def test_an_upgrade_is_not_tunnelled(serve: Serve) -> None:
    """A WebSocket handshake gets an error and never reaches the upstream as an upgrade."""
    fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    fields.append("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    async with hosted(serve) as (port, upstream):
        async with raw_client(port) as client:
            await client.send(get("/socket", *fields))
            answered = await read_answer(client.reader)
        assert upstream.seen == []
    assert answered.status in (403, 501)


async def test_a_refusal_of_an_absent_upstream_is_a_502(sessions_url: str) -> None:
    """The middleware answers for the forwarder, under a foreign server as under ours."""
    with under_uvicorn(HostedProxy("http://127.0.0.1:1", sessions_url)) as port:
        answered: Answered = await ask(port, post(STORE, ANN))
    assert answered.status == 502
    assert answered.values("x-sidecar-reason") == [b"upstream_unavailable"]


@pytest.fixture
def sessions_url() -> Iterator[str]:
    with serve_session_service() as sessions:
        yield sessions.url
