"""After a 101 the two connections speak another protocol: bytes pass both ways, untouched and unread."""

from __future__ import annotations

import asyncio


class _End(asyncio.Protocol):
    """One end of a tunnel: what comes in here goes out at `other`, as fast as it takes it."""

    def __init__(self, other: asyncio.Transport, over: asyncio.Future[None]) -> None:
        self._other = other
        self._over = over
        self.finished = False
        self.opposite: _End | None = None

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def eof_received(self) -> bool:
        """Pass a half-close on; when both sides have sent all, or a half-close cannot be passed on, it is over."""
        self.finished = True
        if self._other.is_closing() or not self._other.can_write_eof() or (self.opposite and self.opposite.finished):
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


async def join(client: asyncio.Transport, upstream: asyncio.Transport, *, half_closed: bool) -> None:
    """Connect the two until either connection ends; the other is closed with it, cancelled or not.

    `half_closed` says that the client has sent all already.
    """
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ends = _End(upstream, over), _End(client, over)
    ends[0].opposite, ends[1].opposite = ends[1], ends[0]
    client.set_protocol(ends[0])
    upstream.set_protocol(ends[1])
    if half_closed and not ends[0].eof_received():
        client.close()
    try:
        await over
    finally:
        client.close()
        upstream.close()
