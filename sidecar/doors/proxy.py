"""The reverse proxy as a Starlette application: a middleware that decides around an application that forwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.doors.asgi import PERMIT, respond
from sidecar.doors.refusal import Response
from sidecar.guard.permit import Permit
from sidecar.http.client.forwarder import Forwarder

_NO_TUNNEL: Final = Response(501, ((b"content-length", b"0"),), b"")


def proxy_app(forwarder: Forwarder, guarding: Callable[[ASGIApp], ASGIApp]) -> Starlette:
    """Build the proxy. `guarding` wraps an application in what puts a permit into the scope of each admitted request.

    It runs on any ASGI server; on ours it tunnels upgrades and passes interim responses on too. Every path belongs to
    the memory service, `*` and odd characters included, so the router has no routes and one default.
    """
    app = Starlette(middleware=[Middleware(guarding)])
    app.router.redirect_slashes = False
    app.router.default = ForwardingApp(forwarder)
    return app


def bare_proxy(forwarder: Forwarder, guarding: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    """Build the proxy for a server that answers the failures of its application by itself, as ours does.

    It is what `proxy_app` makes without Starlette's two error middlewares and its router, which find nothing to do.
    """
    return guarding(ForwardingApp(forwarder))


class ForwardingApp:
    """Forwards requests that carry a permit. Raises KeyError for one that carries none: it must not go anywhere."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request. Raises PermitLapsed and UpstreamError.

        A WebSocket handshake is denied: a foreign server has read it already, and its bytes cannot be tunnelled.
        """
        if scope["type"] == "websocket":
            await respond(scope, send, _NO_TUNNEL)
            return
        permit: Permit = scope[PERMIT]
        await self._forwarder.forward(permit, scope, receive, send)
