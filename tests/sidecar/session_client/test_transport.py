"""Calls over our own pool: whole answers and streams, their failures, and which connections they use."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from sidecar.http.client.pool import LEAST_PLACES_TO_WAIT
from sidecar.session_client.answers import Reply
from sidecar.session_client.calls import write_call
from sidecar.session_client.transport import NoAnswer, Transport
from tests.support.eventually import eventually
from tests.support.wire import OK, BreaksUnderTheSecond, Seen, raw_upstream


class Calls:
    """A transport, and the server at `base` that it calls."""

    def __init__(self, base: str, connections: int) -> None:
        self.base = base
        self.transport = Transport(connections=connections)

    async def call(self, method: str = "GET", target: str = "/", *, base: str = "", patience: float = 60.0) -> Reply:
        call = write_call(base or self.base, method, target, [(b"x-b", b"f")], b"{}" if method != "GET" else None)
        return await self.transport.call(call, asyncio.get_running_loop().time() + patience)


@contextlib.asynccontextmanager
async def talking(answer=OK, *, connections=10):
    """An upstream, and calls to it."""
    async with raw_upstream(answer) as upstream:
        calls = Calls(upstream.url, connections)
        async with calls.transport:
            yield upstream, calls


async def test_a_call_and_its_answer():
    """Method, target, fields and body reach the server; status and body come back."""
    async with talking(b"HTTP/1.1 201 Made It\r\nContent-Length: 2\r\n\r\nok") as (upstream, calls):
        assert await calls.call("PUT", "/a%2Fb?c=d") == Reply(201, b"ok")
        seen = upstream.seen[0]
        assert (seen.line, seen.body, seen.values("x-b")) == (b"PUT /a%2Fb?c=d HTTP/1.1", b"{}", [b"f"])
        assert seen.values("host") == [f"127.0.0.1:{upstream.port}".encode()]
        assert seen.values("content-length") == [b"2"]


async def test_many_calls_share_few_connections():
    """Calls wait for one of few connections, and all are answered."""
    async with talking(connections=3) as (upstream, calls):
        answers = await asyncio.gather(*(calls.call(target=f"/{number}") for number in range(100)))
        assert {answer.status for answer in answers} == {200}
        assert upstream.accepted == 3


async def test_as_many_calls_wait_as_there_are():
    """A burst says nothing of the server, and each call has its own deadline."""
    async with talking(connections=1) as (_, calls):
        answers = await asyncio.gather(*(calls.call() for _ in range(LEAST_PLACES_TO_WAIT + 100)))
        assert {answer.status for answer in answers} == {200}


async def test_a_stream_is_read_as_it_comes_and_can_be_left():
    """A stream is read as it arrives, and leaving it closes its connection."""
    go = asyncio.Event()

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n")

    async with talking(answer) as (upstream, calls):
        async with calls.transport.stream(write_call(calls.base, "GET", "/", [])) as (head, pieces):
            assert head.status == 200
            assert await anext(pieces) == b"one"
            go.set()
            assert await anext(pieces) == b"two"
        await eventually(lambda: upstream.open == 0)


async def test_a_stream_that_is_not_read_holds_the_server_back():
    """The server is not read while too much of its stream waits, and nothing of it is lost."""
    size = 32 * 1024 * 1024

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"x" * size)
        await writer.drain()

    async with (
        talking(answer) as (_, calls),
        calls.transport.stream(write_call(calls.base, "GET", "/", [])) as (_, pieces),
    ):
        ((connection,),) = [pool._open for pool in calls.transport._pools.values()]
        await eventually(lambda: connection.reading_held)
        assert sum([len(piece) async for piece in pieces]) == size
        assert not connection.reading_held


async def test_a_stream_that_breaks_off_says_so():
    """What came before is given; the break is the transport's own failure."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"

    async def respond(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    got: list[bytes] = []

    async def read(calls: Calls) -> None:
        async with calls.transport.stream(write_call(calls.base, "GET", "/", [])) as (_, pieces):
            async for piece in pieces:
                got.append(piece)  # noqa: PERF401 # what came before the break is kept

    async with talking(respond) as (_, calls):
        with pytest.raises(NoAnswer):
            await read(calls)
    assert b"".join(got) == b"half"


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b""])
async def test_what_is_no_whole_answer_is_none(answer):
    """Nonsense, a cut response and an empty one."""

    async def respond(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with talking(respond) as (_, calls):
        with pytest.raises(NoAnswer, match="the server"):
            await calls.call()


async def test_no_answer_in_time_is_a_time_out():
    """A response that does not come in time raises, and closes the connection."""

    async def silence(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with talking(silence) as (upstream, calls):
        with pytest.raises(TimeoutError):
            await calls.call(patience=0.1)
        await eventually(lambda: upstream.seen)


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "http://nowhere.invalid"])
async def test_a_server_that_is_not_there_gives_no_answer(base):
    """A refused connection and a name that does not exist."""
    async with talking() as (_, calls):
        with pytest.raises(NoAnswer, match="the server cannot be reached"):
            await calls.call(base=base)


@pytest.mark.parametrize(("method", "works"), [("GET", True), ("PUT", True), ("POST", False)])
async def test_a_stale_connection_is_used_once_more_only_where_that_is_harmless(method, works):
    """An idempotent call is repeated on a new connection; no other is."""
    answer = BreaksUnderTheSecond()
    async with talking(answer) as (_, calls):
        await calls.call()
        if works:
            assert (await calls.call(method)).status == 200
        else:
            with pytest.raises(NoAnswer):
                await calls.call(method)
        assert answer.counted == 2 + works


async def test_several_instances_have_their_own_connections():
    """Calls in turn use one connection each."""
    async with talking() as (first, calls), raw_upstream() as second:
        for base in (first.url, second.url, first.url, second.url):
            await calls.call(base=base)
        assert (first.accepted, second.accepted) == (1, 1)


async def test_a_unix_socket(tmp_path):
    """Over a Unix socket the host is `localhost`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        writer.close()

    asked: list[bytes] = []
    path = tmp_path / "service.sock"
    async with await asyncio.start_unix_server(serve, path), Transport() as transport:
        call = write_call(f"unix:{path}", "GET", "/", [])
        assert (await transport.call(call, asyncio.get_running_loop().time() + 60)).body == b"ok"
        assert b"host: localhost\r\n" in asked[0]
