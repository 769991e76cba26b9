"""The reverse proxy as a Starlette application: a middleware that decides around an application that forwards."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.doors.asgi import PERMIT
from sidecar.guard.permit import Permit
from sidecar.http.ports import Forwarder


def proxy_app(forwarder: Forwarder, guarding: Callable[[ASGIApp], ASGIApp]) -> Starlette:
    """Build the proxy. `guarding` wraps an application in what puts a permit into the scope of each admitted request.

    Every path belongs to the memory service, `*` and odd characters included, so the router has no routes and one
    default.
    """
    app = Starlette(middleware=[Middleware(guarding)])
    app.router.redirect_slashes = False
    app.router.default = ForwardingApp(forwarder)
    return app


class ForwardingApp:
    """Forwards requests that carry a permit. Raises KeyError for one that carries none: it must not go anywhere."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request. Raises PermitLapsed and UpstreamError."""
        permit: Permit = scope[PERMIT]
        await self._forwarder.forward(permit, scope, receive, send)
