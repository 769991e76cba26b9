"""After a 101 the two connections speak a protocol that is not ours: bytes pass both ways, untouched and unread."""

from __future__ import annotations

import asyncio


class _End(asyncio.Protocol):
    """One end of a tunnel: what comes in here goes out at `other`, as fast as it takes it."""

    def __init__(self, other: asyncio.Transport, over: asyncio.Future[None]) -> None:
        self._other = other
        self._over = over

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def eof_received(self) -> bool:
        if self._other.is_closing() or not self._other.can_write_eof():
            return False
        self._other.write_eof()
        return True

    def pause_writing(self) -> None:
        if not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._other.close()
        else:
            self._other.abort()
        if not self._over.done():
            self._over.set_result(None)


async def join(client: asyncio.Transport, upstream: asyncio.Transport) -> None:
    """Connect the two until either connection ends; the other is closed with it, cancelled or not."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    client.set_protocol(_End(upstream, over))
    upstream.set_protocol(_End(client, over))
    try:
        await over
    finally:
        client.close()
        upstream.close()
