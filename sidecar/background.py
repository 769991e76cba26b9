"""Parts that work in the background: each is started with a block and stopped at its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

from starlette.types import ASGIApp

from sidecar.http.server.connection import Timeouts
from sidecar.http.server.server import Server


class Startable(Protocol):
    """A part that works in the background."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


Part = TypeVar("Part", bound=Startable)


@contextlib.asynccontextmanager
async def started(part: Part) -> AsyncIterator[Part]:
    """Have the part work until the block ends."""
    await part.start()
    try:
        yield part
    finally:
        await part.stop()


class SideServer:
    """A server beside the proxy's: it answers from `start` on until it was stopped and its requests are answered."""

    def __init__(
        self, app: ASGIApp, listener: socket.socket, *, drain_timeout: float, patience: Timeouts | None = None
    ) -> None:
        self._ready = asyncio.Event()
        self._stops = False
        self.server = Server(
            app,
            listener,
            drain_timeout=drain_timeout,
            patience=patience,
            on_ready=self._ready.set,
            handle_signals=False,
        )

    async def start(self) -> None:
        """Return when connections are accepted. Raises what keeps the server from that, such as OSError."""
        self._serving = asyncio.create_task(self.server.run_until_stopped())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait((self._serving, ready), return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.is_set():
            ready.cancel()
            await self._serving

    def begin_to_stop(self) -> None:
        """Stop in order; asked a second time, go on with that."""
        if not self._stops:
            self._stops = True
            self.server.stop()

    async def stop(self) -> None:
        self.begin_to_stop()
        await self._serving
