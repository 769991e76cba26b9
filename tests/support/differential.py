"""What a differential test of the wire sends, and what it sees at both ends: messages as data."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Planned:
    """One exchange: the bytes of both sides, each in the pieces in which it is written."""

    method: str
    request: tuple[bytes, ...]
    answer: tuple[bytes, ...]
    closes: bool


@dataclass(frozen=True)
class Sent:
    """A request as the upstream saw it."""

    line: bytes
    fields: Fields
    chunks: tuple[bytes, ...] | None
    """The chunks of its body, or None where it is not chunked."""
    body: bytes
    trailers: Fields


@dataclass(frozen=True)
class Got:
    """A final answer as the client saw it, and the interim answers before it."""

    line: bytes
    fields: Fields
    chunks: tuple[bytes, ...] | None
    body: bytes
    trailers: Fields
    until_close: bool
    interim: list[tuple[bytes, Fields]] = field(default_factory=list)


def parse_head(head: bytes) -> tuple[bytes, Fields]:
    """Part a head into its first line and its fields; values keep the white space around them."""
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return line, [(name, value) for name, _, value in (each.partition(b":") for each in lines)]


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for key, value in fields if key.lower() == name]


async def read_chunks(reader: asyncio.StreamReader) -> tuple[tuple[bytes, ...], Fields]:
    """Read the chunks and the trailers of a body."""
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    trailers = []
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        name, _, value = line[:-2].partition(b":")
        trailers.append((name, value))
    return tuple(chunks), trailers


async def read_request(head: bytes, reader: asyncio.StreamReader) -> Sent:
    """Read the rest of a request whose head has come."""
    line, fields = parse_head(head)
    if values(fields, b"transfer-encoding"):
        chunks, trailers = await read_chunks(reader)
        return Sent(line, fields, chunks, b"".join(chunks), trailers)
    lengths = values(fields, b"content-length")
    body = await reader.readexactly(int(lengths[0])) if lengths else b""
    return Sent(line, fields, None, body, [])


async def read_answer(reader: asyncio.StreamReader, method: str) -> Got:
    """Read a whole answer. Raises IncompleteReadError where it is none."""
    interim = []
    while True:
        line, fields = parse_head(await reader.readuntil(b"\r\n\r\n"))
        status = int(line.split(b" ")[1])
        if status >= 200:
            break
        interim.append((line, fields))
    if method == "HEAD" or status in (204, 304):
        return Got(line, fields, None, b"", [], until_close=False, interim=interim)
    if values(fields, b"transfer-encoding"):
        chunks, trailers = await read_chunks(reader)
        return Got(line, fields, chunks, b"".join(chunks), trailers, until_close=False, interim=interim)
    if lengths := values(fields, b"content-length"):
        body = await reader.readexactly(int(lengths[0]))
        return Got(line, fields, None, body, [], until_close=False, interim=interim)
    return Got(line, fields, None, await reader.read(), [], until_close=True, interim=interim)


async def write_pieces(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...]) -> None:
    """Write them one by one, so that they tend to arrive that way."""
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
