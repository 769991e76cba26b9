"""The admin address: alive, ready, figures. All else there needs the token, unless only this machine can ask."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def admin_app(
    registry: CollectorRegistry, is_ready: Callable[[], bool], token: str | None, *, loopback: bool
) -> Starlette:
    """The admin application. `is_ready` is false while starting and draining."""

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_request: Request) -> Response:
        return PlainTextResponse("ready\n") if is_ready() else PlainTextResponse("not ready\n", 503)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    async def not_found(request: Request, _error: Exception) -> Response:
        if not loopback and not _holds(token, request):
            return PlainTextResponse("a bearer token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
        return PlainTextResponse("not found\n", 404)

    routes = [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]
    return Starlette(routes=routes, exception_handlers={404: not_found})


def _holds(token: str | None, request: Request) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return token is not None and scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())


class AdminServer:
    """Serves the admin application from start to stop, beside whatever else the process does."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False)
        self._server = _QuietServer(config)
        self._listener = listener
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._serving = asyncio.create_task(self._server.serve([self._listener]), name="admin")

    async def stop(self) -> None:
        """Stop answering; whatever is being answered is cut."""
        self._server.should_exit = self._server.force_exit = True
        if self._serving is not None:
            await self._serving


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the server of the proxy."""
        yield
