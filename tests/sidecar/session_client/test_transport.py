"""httpx over our own pool: the answers, exceptions and limits that its users know from its own transport."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from sidecar.session_client.transport import PooledTransport
from tests.support.eventually import eventually
from tests.support.wire import OK, BreaksUnderTheSecond, Seen, raw_upstream


@contextlib.asynccontextmanager
async def talking(answer=OK, *, patience=10.0, **options):
    """An upstream, and a client whose transport is the one under test."""
    transport = PooledTransport(**options)
    async with (
        raw_upstream(answer) as upstream,
        httpx.AsyncClient(transport=transport, base_url=upstream.url, trust_env=False, timeout=patience) as client,
    ):
        yield upstream, client, transport
    assert transport.counts() == {"idle": 0, "active": 0, "streaming": 0, "waiting": 0}


async def test_a_request_and_its_answer():
    """Method, target, fields and body reach the server; status, reason, fields and body come back."""
    answer = b"HTTP/1.1 201 Made It\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok"
    async with talking(answer) as (upstream, client, _):
        got = await client.put("/a%2Fb?c=d", json={"e": 1}, headers={"X-B": "f"})
        assert (got.status_code, got.reason_phrase, got.text) == (201, "Made It", "ok")
        assert got.headers.get_list("x-a") == ["1", "2"]
        seen = upstream.seen[0]
        assert (seen.line, seen.body, seen.values("x-b")) == (b"PUT /a%2Fb?c=d HTTP/1.1", b'{"e":1}', [b"f"])
        assert seen.values("host") == [f"127.0.0.1:{upstream.port}".encode()]


async def test_a_body_of_unknown_length_is_chunked():
    """A body of unknown length is sent as one chunk."""

    async def pieces():
        yield b"one"
        yield b"two"

    async with talking() as (upstream, client, _):
        await client.post("/", content=pieces())
        assert upstream.seen[0].body == b"6\r\nonetwo\r\n0\r\n\r\n"


async def test_many_requests_share_few_connections():
    """Requests wait for one of few connections, and all are answered."""
    async with talking(connections=3) as (upstream, client, transport):
        answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert upstream.accepted == 3
        assert transport.counts()["idle"] == 3


async def test_a_stream_is_read_as_it_comes_and_can_be_left():
    """A stream is read as it arrives, and leaving it closes its connection."""
    go = asyncio.Event()

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n")

    async with talking(answer) as (upstream, client, transport):
        async with client.stream("GET", "/") as stream:
            pieces = stream.aiter_raw()
            assert await anext(pieces) == b"one"
            go.set()
            assert await anext(pieces) == b"two"
        await eventually(lambda: upstream.open == 0)
        assert transport.counts()["streaming"] == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"nonsense\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", httpx.RemoteProtocolError),
        (b"", httpx.RemoteProtocolError),
    ],
)
async def test_what_is_no_whole_answer_is_a_protocol_error(answer, error):
    """Nonsense, a cut response and an empty one raise a protocol error."""

    async def respond(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with talking(respond) as (_, client, _):
        with pytest.raises(error):
            await client.get("/")


async def test_no_answer_in_time_is_a_read_timeout():
    """A response that does not come in time raises a read timeout and closes the connection."""

    async def silence(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with talking(silence, patience=0.1) as (upstream, client, _):
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/")
        await eventually(lambda: upstream.seen)


async def test_nobody_there_is_a_connect_error():
    """A refused connection raises a connect error."""
    async with talking() as (_, client, _):
        with pytest.raises(httpx.ConnectError, match="the server cannot be reached"):
            await client.get("http://127.0.0.1:1/")
        with pytest.raises(httpx.ConnectError):
            await client.get("http://nowhere.invalid/")


@pytest.mark.parametrize(("method", "works"), [("GET", True), ("PUT", True), ("POST", False)])
async def test_a_stale_connection_is_used_once_more_only_where_that_is_harmless(method, works):
    """An idempotent request is repeated on a new connection; no other is."""
    answer = BreaksUnderTheSecond()
    async with talking(answer) as (_, client, _):
        await client.get("/")
        if works:
            assert (await client.request(method, "/")).status_code == 200
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.request(method, "/")
        assert answer.counted == 2 + works


async def test_several_origins_have_their_own_connections():
    """Each origin has its own connections, and one Unix socket may stand for all."""
    async with talking() as (first, client, _), raw_upstream() as second:
        await client.get("/")
        await client.get(f"{second.url}/")
        assert (first.accepted, second.accepted) == (1, 1)


async def test_a_unix_socket(tmp_path):
    """Over a Unix socket the host of the URL is only the `Host` field."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        writer.close()

    asked: list[bytes] = []
    path = tmp_path / "service.sock"
    async with (
        await asyncio.start_unix_server(serve, path),
        httpx.AsyncClient(transport=PooledTransport(unix=str(path)), trust_env=False) as client,
    ):
        assert (await client.get("http://session.example/")).text == "ok"
        assert b"Host: session.example\r\n" in asked[0]
