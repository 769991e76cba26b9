"""Serves the admin application beside the proxy, on the same event loop and a listener of its own."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from starlette.types import ASGIApp

from sidecar.http.server.server import Server

_DRAIN_TIMEOUT: Final = 1.0


class AdminServer:
    """Serves the admin application from `start` to `stop`."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._server = Server(app, listener, drain_timeout=_DRAIN_TIMEOUT, handle_signals=False)
        self._serving: asyncio.Task[int] | None = None

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server.run_until_stopped(), name="admin")

    async def stop(self) -> None:
        """Stop answering; a response in progress has a second to end."""
        self._server.stop()
        if self._serving is not None:
            await self._serving
