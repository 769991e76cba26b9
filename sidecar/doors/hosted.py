"""What stands around somebody's application when the sidecar serves it itself: the outermost layer and the innermost.

The outermost adds what an origin server owes (RFC 9110, section 6.6.1): `Date`. The innermost, inside the guard, turns
the server's time-out on a request body into a 408.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.doors.asgi import respond
from sidecar.doors.refusal import refuse_request
from sidecar.model import Reason, Refusal, RefusalFormat

_LATE: Final = Refusal(Reason.BODY_TIMEOUT, "The rest of the request body did not come in time.")


def hosted_app(app: ASGIApp, guarding: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    """Put `app` under the guard. `guarding` wraps an application in what decides each of its requests."""
    return _Dated(guarding(_BodyTimeout(app)))


class _Dated:
    """Adds `Date` to each HTTP response that has none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name.lower() == b"date" for name, _ in headers):
                    headers.append((b"date", formatdate(usegmt=True).encode("ascii")))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, dated if scope["type"] == "http" else send)


class _BodyTimeout:
    """Shows a body that stopped arriving to the application as a disconnect, and answers in its place."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        late = started = False

        async def timed_receive() -> Message:
            nonlocal late
            try:
                return await receive()
            except TimeoutError:
                late = True
                return {"type": "http.disconnect"}

        async def noted_send(message: Message) -> None:
            nonlocal started
            if late and not started:
                return
            started = True
            await send(message)

        try:
            await self._app(scope, timed_receive, noted_send)
        except Exception:
            if not late or started:
                raise
        if late and not started:
            await respond(scope, send, refuse_request(RefusalFormat.REST, _LATE))
