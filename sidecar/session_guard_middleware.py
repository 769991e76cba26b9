"""The guard as middleware for any ASGI application; public, as `from sidecar import SessionGuardMiddleware`."""

from __future__ import annotations

import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.session_guard import SessionGuard
from sidecar.settings import load_settings


class SessionGuardMiddleware:
    """Pure ASGI middleware that guards any application: `SessionGuardMiddleware(app, guard=guard)`.

    Without `guard` it makes one from the environment when the application starts and closes it when that stops, so
    `app.add_middleware(SessionGuardMiddleware)` is all that an application needs; its server has to speak the lifespan
    protocol then. The permit of a request, with the sessions that it names, stands in `scope["session_guard"]`.
    """

    def __init__(self, app: ASGIApp, guard: SessionGuard | None = None) -> None:
        self._app = app
        self._guard = guard
        self._makes_guard = guard is None
        self._guarded: ASGIApp | None = None
        self._guarded_by: object = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan.

        Raises RuntimeError for a request that comes while the guard is not open.
        """
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if self._guard is None:
            raise RuntimeError("SessionGuardMiddleware has no guard: pass one, or serve with the lifespan protocol")
        self._guard.check_open()
        # A guard that is opened again has other parts.
        if self._guarded is None or self._guarded_by is not self._guard.guard:
            self._guarded, self._guarded_by = self._guard.guarding(self._app), self._guard.guard
        await self._guarded(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the guard before the application starts, and close it after the application has stopped."""
        if not self._makes_guard:
            await self._app(scope, receive, send)
            return
        stack = contextlib.AsyncExitStack()

        async def starting() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._guard = await stack.enter_async_context(SessionGuard.from_settings(load_settings()))
            return message

        async def stopping(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await stack.aclose()
            await send(message)

        async with stack:
            await self._app(scope, starting, stopping)
