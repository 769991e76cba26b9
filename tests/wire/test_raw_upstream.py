"""The upstream of these tests leaves no connection behind for any behaviour of its client."""

from __future__ import annotations

import asyncio

from tests.support.eventually import eventually
from tests.support.wire import Seen, get, raw_upstream


async def test_a_client_that_does_not_read_is_closed_at_the_end() -> None:
    """What was written and not sent does not keep the connection open."""
    writers: list[asyncio.StreamWriter] = []

    def answer(_seen: Seen, writer: asyncio.StreamWriter) -> bytes:
        writers.append(writer)
        return bytes(64 << 20)

    async with raw_upstream(answer) as upstream:
        _, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(get())
        await eventually(lambda: writers)
        writer.transport.pause_reading()
    async with asyncio.timeout(10):
        await writers[0].wait_closed()
    writer.transport.abort()
