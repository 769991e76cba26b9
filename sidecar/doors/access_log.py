"""One log line for each request once its response is over, as an application around the proxy."""

from __future__ import annotations

import time
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from sidecar.http.ports import WIRE
from sidecar.http.server.exchange import Exchange
from sidecar.model import Reason
from sidecar.request_context import RequestContext, enter_request

_FAILURES: Final = {
    Reason.UPSTREAM_UNAVAILABLE: "UF",
    Reason.UPSTREAM_TIMEOUT: "UT",
    Reason.OVERLOADED: "UO",
}


class AccessLog:
    """Serves requests by `app`, and logs method, path, status, bytes, time, decision, flags and request id of each.

    The path is logged without its query. The flags name the side that kept the request from its plain end.
    """

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the lifespan and WebSockets of a hosted application pass without a line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange: Exchange = scope[WIRE]
        request = enter_request(exchange.head)
        started = time.monotonic()
        try:
            await self._app(scope, receive, send)
        finally:
            status = exchange.status
            self._log.info(
                "request",
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=status,
                decision=request.decision,
                reason=request.reason,
                flags=response_flags(
                    request, answering=status is not None, complete=exchange.answered, left=exchange.left
                ),
                received=exchange.received,
                sent=exchange.sent,
                seconds=round(time.monotonic() - started, 6),
                client=exchange.peer,
            )


def response_flags(request: RequestContext, *, answering: bool, complete: bool, left: bool) -> str:
    """Name the side that kept a request from its plain end; `-` where none did.

    `answering` is whether a response head was sent, `complete` whether its end was. `left` is whether the client closed
    the connection before.
    """
    if request.failure is not None:
        return "UC" if answering and not complete else _FAILURES.get(request.failure, "UF")
    if not complete and left:
        return "DC"
    if request.decision == "refused":
        return "SR"
    return "-" if complete else "SE"
