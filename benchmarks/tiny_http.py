"""A very small HTTP/1.1 server on httptools and uvloop: a whole request in, one answer out.

It plays the parts that must cost next to nothing beside what is measured. It takes keep-alive for granted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools
import uvloop


@dataclass(slots=True)
class Request:
    """`raw` is the last piece read from the connection: for a small request, all of it."""

    method: bytes
    target: bytes
    body: bytes
    raw: bytes
    transport: asyncio.Transport


Handler = Callable[[Request], bytes | None]
"""Gives the answer's bytes, or None where it keeps the transport to write to it later."""


def answer(status: str, body: bytes) -> bytes:
    """An HTTP/1.1 response with a JSON body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.raw = data
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.target, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        request = Request(self.parser.get_method(), self.target, self.body, self.raw, self.transport)
        if (response := self.handle(request)) is not None:
            self.transport.write(response)


def serve(handle: Handler, port: int) -> None:
    """Listen on loopback until killed."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(handle), "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    uvloop.run(run())
