"""Mode `off`: every request passes, and none is looked at."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.doors.asgi import begin_unread
from sidecar.doors.middleware import run_permitted
from sidecar.guard.immediate_guard import OpenGuard


class PassthroughMiddleware:
    """Permits every request."""

    def __init__(self, app: ASGIApp, *, guard: OpenGuard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin_unread(scope)
        await run_permitted(self._app, self._guard.pass_through(), scope, receive, send)
