"""One log line for each request once its answer is over, as an application around the proxy."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from sidecar.http.ports import WIRE
from sidecar.request_context import enter_request


class AccessLog:
    """Serves requests by `app`, and logs method, path, status, bytes, time, decision and request id of each.

    The path is logged without its query. `complete` is false where the answer was broken off.

    """

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        wire = scope["extensions"][WIRE]
        request = enter_request(scope["method"], wire.target, scope["headers"])
        started = time.monotonic()
        status: int | None = None
        received = sent = 0
        complete = False

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def noted_send(message: Message) -> None:
            nonlocal status, sent, complete
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
                complete = not message.get("more_body", False)

        try:
            await self._app(scope, counted_receive, noted_send)
        finally:
            self._log.info(
                "request",
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=status,
                decision=request.decision,
                received=received,
                sent=sent,
                seconds=round(time.monotonic() - started, 6),
                complete=complete,
                client=wire.peer,
            )
