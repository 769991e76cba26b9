"""The forwarder: hands an admitted request on to the memory service and its answer back, byte for byte.

It never sends a request twice for one admission, but for an idempotent one on a stale connection (RFC 9110,
section 9.2.2), and never lets a cut answer look complete.
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from sidecar.guard.permit import Permit
from sidecar.http.asgi_wire import AsgiWire, wire_of
from sidecar.http.client.proxied_request import ProxiedRequest
from sidecar.http.client.response import ClientGone, UpstreamError, UpstreamFailure
from sidecar.http.client.upstream import Upstream


class Forwarder:
    """Forwards requests of an ASGI application to `upstream`."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def forward(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request and its answer.

        Raises PermitLapsed where the permit is no longer valid after a wait for a connection, and UpstreamError while
        nothing of the response was sent on. Returns quietly when the client has gone. Under a foreign server it raises
        sidecar.http.asgi_wire.ResponseCut where the upstream ends its response early.
        """
        wire = wire_of(scope)
        if wire is not None:
            request = ProxiedRequest(self._upstream, permit, wire, receive, send)
        else:
            bare = AsgiWire(scope, receive, send)
            request = ProxiedRequest(self._upstream, permit, bare, bare.receive, bare.send)
        try:
            await request.run()
        except ClientGone:
            return
        except (UpstreamFailure, UpstreamError) as failure:
            error = self._upstream.explain(failure)
            if not request.has_begun:
                raise error from failure
            request.break_off()
