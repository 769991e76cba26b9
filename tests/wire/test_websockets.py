"""Upgraded connections: after the upstream's 101 every byte is the upstream's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.eventually import eventually
from tests.support.wire import OK, ask, get, raw_client, raw_upstream


async def echo(connection: ServerConnection) -> None:
    """Send back what comes, in the same kind of message; `bye` closes with a code of its own."""
    async for message in connection:
        if message == "bye":
            await connection.close(4321, "as asked")
            return
        await connection.send(message)


def first(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return offered[0] if offered else None


@pytest.fixture
async def sidecar(running):
    """A sidecar in front of a WebSocket server."""
    async with (
        serve(echo, "127.0.0.1", 0, select_subprotocol=first, max_size=1 << 22) as server,
        running(url_of(server)) as sidecar,
    ):
        yield sidecar


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


def websocket(sidecar, path="/ws", **options):
    return connect(f"ws://127.0.0.1:{sidecar.port}{path}", proxy=None, max_size=1 << 22, **options)


async def test_text_and_binary_messages_come_back_as_they_were(sidecar):
    """Messages of both kinds come back, empty ones too."""
    async with websocket(sidecar) as client:
        for message in ("hello", "\u4f60\u597d", b"\x00\xff", "", b""):
            await client.send(message)
            assert await client.recv() == message


async def test_a_message_in_fragments_arrives(sidecar):
    """The fragments of a message are passed on as frames."""
    async with websocket(sidecar) as client:
        await client.send(["frag", "men", "ted"])
        assert await client.recv() == "fragmented"


async def test_pings_are_answered_by_the_upstream(sidecar):
    """A pong with the ping's payload comes from the upstream."""
    async with websocket(sidecar) as client:
        await asyncio.wait_for(await client.ping(b"payload"), 10)


async def test_close_codes_pass_both_ways(sidecar):
    """The upstream's close code and reason reach the client."""
    async with websocket(sidecar) as client:
        await client.send("bye")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4321, "as asked")


async def test_a_mebibyte_in_one_frame(sidecar):
    """A frame of a mebibyte is passed on, compressed or not."""
    for compression in ("deflate", None):
        async with websocket(sidecar, compression=compression) as client:
            for _ in range(3):
                await client.send(b"x" * (1 << 20))
                assert await client.recv() == b"x" * (1 << 20)


async def test_subprotocol_and_compression_are_negotiated_with_the_upstream(sidecar):
    """Subprotocol and compression are those that client and upstream agree on."""
    async with websocket(sidecar, subprotocols=["memory.v1"]) as client:
        assert client.subprotocol == "memory.v1"
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]


async def test_tunnels_leave_the_count_and_nothing_behind(sidecar):
    """A tunnel takes no place of an ordinary connection, and is closed with its client."""
    async with websocket(sidecar):
        assert sidecar.upstream.connections()["active"] == 0
        assert len(sidecar.server.shared.connections) == 1
    await sidecar.quiet()
    await eventually(lambda: not sidecar.server.shared.connections)


async def test_tunnels_are_ended_when_the_server_stops(sidecar):
    """A tunnel is closed when the server stops."""
    async with websocket(sidecar) as client:
        sidecar.server.stop()
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert await asyncio.wait_for(asyncio.shield(sidecar.serving), 10) == 0


async def test_a_tunnel_that_begins_while_the_server_stops_is_ended(running):
    """An upgrade that is on its way when the server stops is answered, and its tunnel closed."""
    draining = asyncio.Event()

    async def answer(seen, writer):
        await draining.wait()
        writer.write(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\n")
        assert await seen.reader.read() == b""

    async with (
        raw_upstream(answer) as upstream,
        running(upstream.url) as sidecar,
        raw_client(sidecar.port) as client,
        asyncio.timeout(5),
    ):
        await client.send(get("/", "Connection: upgrade", "Upgrade: odd"))
        await eventually(lambda: upstream.seen)
        sidecar.server.stop()
        await eventually(lambda: sidecar.server.shared.draining)
        draining.set()
        assert (await client.answer()).status == 101
        assert await client.rest() == b""


async def test_an_upgrade_that_the_upstream_refuses_is_an_ordinary_answer(running):
    """The client gets the upstream's own status."""
    async with (
        raw_upstream(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as upstream,
        running(upstream.url) as sidecar,
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(sidecar):
                pass
        assert refused.value.response.status_code == 403
        assert upstream.seen[0].values("connection") == [b"Upgrade"]
        assert upstream.seen[0].values("upgrade") == [b"websocket"]


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        ("Upgrade: websocket",),
        ("Connection: Upgrade",),
    ],
)
async def test_no_other_upgrade_is_passed_on(fields, running):
    """An offer of HTTP/2, and an incomplete one, are removed, and the request is forwarded without them."""
    async with raw_upstream(OK) as upstream, running(upstream.url) as sidecar:
        assert (await ask(sidecar.port, get("/", *fields))).status == 200
        names = {name.lower() for name, _ in upstream.seen[0].fields}
        assert not names & {b"connection", b"upgrade", b"http2-settings"}


async def test_bytes_before_and_after_the_101_are_not_lost(running):
    """Bytes that the client sends early, and those that come with the 101, are passed on in order."""

    async def answer(_seen, writer):
        writer.write(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: odd\r\nX-A: b\r\n\r\nfirst words")

    async with (
        raw_upstream(answer) as upstream,
        running(upstream.url) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        early = b"early \r\n\r\n"
        await client.send(get("/", "Connection: upgrade", "Upgrade: odd") + early)
        answered = await client.answer()
        assert (answered.status, answered.reason, answered.values("x-a")) == (101, b"Switching", [b"b"])
        assert await client.reader.readexactly(11) == b"first words"
        await eventually(lambda: len(upstream.seen) == 2)
        assert upstream.seen[1].head == early


async def test_a_half_close_before_the_101_is_passed_on(running):
    """A client that has sent all before the upstream switched ends the upstream's side of the tunnel, too."""
    half_closed = asyncio.Event()

    async def answer(seen, writer):
        await half_closed.wait()
        writer.write(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\n")
        writer.write(await seen.reader.read() + b" and all")
        writer.close()

    async with (
        raw_upstream(answer) as upstream,
        running(upstream.url) as sidecar,
        raw_client(sidecar.port) as client,
        asyncio.timeout(10),
    ):
        await client.send(get("/", "Connection: upgrade", "Upgrade: odd") + b"early")
        client.writer.write_eof()
        (connection,) = sidecar.server.shared.connections
        await eventually(lambda: connection._half_closed)
        half_closed.set()
        assert (await client.answer()).status == 101
        assert await client.rest() == b"early and all"
