"""Flow control of one connection, on either side of the proxy: neither peer is read faster than the other one reads."""

from __future__ import annotations

import asyncio
from typing import cast


class FlowControlled(asyncio.Protocol):
    """A connection that can be held back, and says when its peer holds it back (`write_paused`)."""

    __slots__ = ("_writable", "reading_held", "transport", "write_paused")

    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # set before anything else happens
        self.reading_held = False
        self.write_paused = False
        self._writable: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """The peer reads slower than is written."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The peer has caught up, or has gone."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Wait until the peer has read enough for more to be written, or has gone."""
        while self.write_paused:
            # Several tasks of an application may write to one client.
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()

    def hold_reading(self) -> None:
        """Read no more from the peer until `release_reading`."""
        if not self.reading_held and not self.transport.is_closing():
            self.reading_held = True
            self.transport.pause_reading()

    def release_reading(self) -> None:
        """Read on."""
        if self.reading_held and not self.transport.is_closing():
            self.reading_held = False
            self.transport.resume_reading()
