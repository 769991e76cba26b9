"""Serves the admin application beside the proxy, on the same event loop and a listener of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


class AdminServer:
    """Serves the admin application from `start` to `stop`."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False)
        self._server = _QuietServer(config)
        self._listener = listener
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._serving = asyncio.create_task(self._server.serve([self._listener]), name="admin")

    async def stop(self) -> None:
        """Stop answering; a response in progress is cut."""
        self._server.should_exit = self._server.force_exit = True
        if self._serving is not None:
            await self._serving


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the server of the proxy."""
        yield
