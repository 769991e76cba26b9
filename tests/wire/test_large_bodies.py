"""Bodies of any size stream through an unguarded route of a real process without being held."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.support.sidecar_process import SidecarProcess, sidecar_process
from tests.support.wire import RawClient, RawUpstream, Seen, get, raw_client, raw_upstream

MIB = 1 << 20
PIECE = bytes(range(256)) * 257
"""Of a length that is no power of two, so that a piece lost, doubled or out of place changes the checksum."""

SIZES = [64 * MIB, pytest.param(1024 * MIB, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
ALLOWED_GROWTH = 30 * MIB


def pieces(size: int) -> Iterator[bytes]:
    """A body of this size."""
    whole, rest = divmod(size, len(PIECE))
    for _ in range(whole):
        yield PIECE
    yield PIECE[:rest]


async def write_body(writer: asyncio.StreamWriter, size: int, *, chunked: bool) -> int:
    """Write it as fast as it is taken; gives its checksum."""
    checksum = 0
    for piece in pieces(size):
        checksum = zlib.crc32(piece, checksum)
        writer.writelines([b"%x\r\n" % len(piece), piece, b"\r\n"] if chunked else [piece])
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return checksum


async def read_body(reader: asyncio.StreamReader, size: int, *, chunked: bool) -> tuple[int, int]:
    """Read it without keeping it; gives its size and its checksum."""
    checksum = total = 0
    left = 0 if chunked else size
    while True:
        if chunked and not left:
            left = int(await reader.readuntil(b"\r\n"), 16)
        if not left:
            break
        piece = await reader.read(min(left, 1 << 18))
        if not piece:
            break
        checksum, total, left = zlib.crc32(piece, checksum), total + len(piece), left - len(piece)
        if chunked and not left:
            await reader.readexactly(2)
    if chunked:
        await reader.readexactly(2)
    return total, checksum


def framing(size: int, *, chunked: bool) -> str:
    return "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"


class LargeUpstream:
    """Takes what is sent to `/up`, and sends `size` bytes for everything else."""

    def __init__(self) -> None:
        self.size = 0
        self.chunked = False
        self.received: tuple[int, int] | None = None
        self.sent: int | None = None

    async def answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bytes | None:
        if b"/up" in seen.line:
            chunked = bool(seen.values("transfer-encoding"))
            assert chunked == self.chunked
            self.received = await read_body(seen.reader, self.size, chunked=chunked)
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{framing(self.size, chunked=self.chunked)}\r\n\r\n".encode())
        self.sent = await write_body(writer, self.size, chunked=self.chunked)
        return None


@dataclass
class Stage:
    """A real sidecar between one client and the upstream, and how far its memory ever grew."""

    large: LargeUpstream
    upstream: RawUpstream
    sidecar: SidecarProcess
    client: RawClient
    most: int = 0

    async def up(self, size: int, *, chunked: bool) -> None:
        self.large.size, self.large.chunked = size, chunked
        await self.client.send(get("/up", framing(size, chunked=chunked), method="POST"))
        sent = await write_body(self.client.writer, size, chunked=chunked)
        assert (await self.client.answer()).status == 200
        assert self.large.received == (size, sent)

    async def down(self, size: int, *, chunked: bool) -> None:
        self.large.size, self.large.chunked = size, chunked
        await self.client.send(get("/down"))
        head = await self.client.reader.readuntil(b"\r\n\r\n")
        assert framing(size, chunked=chunked).encode() in head
        received = await read_body(self.client.reader, size, chunked=chunked)
        assert received == (size, self.large.sent)

    async def watch(self) -> None:
        """Note the most memory it ever held, until cancelled."""
        while True:
            self.most = max(self.most, self.sidecar.resident)
            await asyncio.sleep(0.02)


@pytest.fixture
async def stage(tmp_path) -> AsyncIterator[Stage]:
    """Both ends, warmed up."""
    large = LargeUpstream()
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(raw_upstream(large.answer, read_body=False))
        sidecar = await asyncio.to_thread(stack.enter_context, sidecar_process(upstream.url, tmp_path))
        client = await stack.enter_async_context(raw_client(sidecar.port))
        stage = Stage(large, upstream, sidecar, client)
        await stage.up(MIB, chunked=False)
        await stage.down(MIB, chunked=False)
        yield stage


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size // MIB}MiB")
async def test_a_large_body_is_not_held(stage, record_property, size, chunked):
    """Up and down, memory grows by less than 30 MB, and each byte arrives."""
    before = stage.sidecar.resident
    watching = asyncio.create_task(stage.watch())
    await stage.up(size, chunked=chunked)
    await stage.down(size, chunked=chunked)
    watching.cancel()
    grown = stage.most - before
    record_property("growth in MiB", grown / MIB)
    print(f"{size // MIB} MiB up and down, {'chunked' if chunked else 'length'}: grown by {grown / MIB:.1f} MiB")
    assert grown < ALLOWED_GROWTH
