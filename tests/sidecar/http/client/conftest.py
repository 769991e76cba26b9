"""An upstream of one connection at a time, scripted by the test, and a receiver that notes what it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from sidecar.http.client.origin import Origin
from sidecar.http.client.pool import Pool
from sidecar.http.client.response_reader import ResponseReceiver
from sidecar.http.framing import ResponseHead


class Listening:
    """A server that accepts connections and leaves what happens on them to the test."""

    def __init__(self) -> None:
        self.accepted: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.port = 0

    def pool(self, **options: object) -> Pool:
        """Make a pool of connections to this server."""
        return Pool(Origin("127.0.0.1", self.port), **options)  # type: ignore[arg-type]

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append((reader, writer))

    def send(self, data: bytes, *, connection: int = -1) -> None:
        """Send bytes on one of the connections, by default the last."""
        self.accepted[connection][1].write(data)

    def end(self, *, connection: int = -1) -> None:
        """End one of the streams."""
        self.accepted[connection][1].close()


@pytest.fixture
async def upstream() -> AsyncIterator[Listening]:
    listening = Listening()
    server = await asyncio.start_server(listening.accept, "127.0.0.1", 0)
    listening.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listening
        for _, writer in listening.accepted:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Receiver(ResponseReceiver):
    """Notes each call that says how the response goes on."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.failure: Exception | None = None
        self.transport: asyncio.Transport | None = None

    def interim(self, head: ResponseHead) -> None:
        self.told.append("interim")

    def whole(self, head: ResponseHead, body: bytes) -> None:
        self.told.append("whole")

    def head(self, head: ResponseHead) -> None:
        self.told.append("head")

    def body(self, data: bytes) -> None:
        """A body is no state of its own."""

    def flush(self) -> None:
        """Neither is the end of a read."""

    def end(self) -> None:
        self.told.append("end")

    def upgraded(self, head: ResponseHead, transport: asyncio.Transport, first: bytes) -> None:
        self.told.append("upgraded")
        self.transport = transport

    def failed(self, failure: Exception) -> None:
        self.told.append("failed")
        self.failure = failure


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()
