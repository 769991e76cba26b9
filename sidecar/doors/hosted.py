"""The layers around an application that the sidecar serves itself: the outermost layer and the innermost.

The outermost adds what an origin server owes (RFC 9110, section 6.6.1): `Date`. The innermost, inside the guard, turns
the server's time-out on a request body into a 408. A response of declared length leaves in one write: its head waits
for the first piece of its body, as ASGI allows.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.doors.asgi import PERMIT, respond
from sidecar.doors.refusal import refuse_request
from sidecar.http.date import http_date
from sidecar.http.headers import DECISION_HEADER
from sidecar.http.ports import WIRE, Wire
from sidecar.model import BODY_LATE, RefusalFormat


def hosted_app(app: ASGIApp, guarding: Callable[[ASGIApp], ASGIApp], *, decision_header: bool = False) -> ASGIApp:
    """Put `app` under the guard. `guarding` wraps an application in what decides each of its requests.

    `decision_header` adds `X-Sidecar-Session` to the application's responses.
    """
    inside: ASGIApp = _BodyTimeout(_without_wire(app))
    if decision_header:
        inside = _OnStart(inside, _decided)
    return _OnStart(guarding(inside), _dated)


def _without_wire(app: ASGIApp) -> ASGIApp:
    """Keep our wire from the application: a guard of its own would take what the outer one read of the request."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await app({name: value for name, value in scope.items() if name != WIRE}, receive, send)

    return served


class _OnStart:
    """Changes the start of each HTTP response."""

    def __init__(self, app: ASGIApp, change: Callable[[Scope, Message], Message]) -> None:
        self._app = app
        self._change = change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def changed(message: Message) -> None:
            await send(self._change(scope, message) if message["type"] == "http.response.start" else message)

        await self._app(scope, receive, changed if scope["type"] == "http" else send)


def _dated(_scope: Scope, message: Message) -> Message:
    """Add `Date` where there is none, and say whether the body of the response follows at once."""
    headers = list(message.get("headers", ()))
    names = {name.lower() for name, _ in headers}
    if b"date" not in names:
        headers.append((b"date", http_date()))
    return {**message, "headers": headers, "body_follows": b"content-length" in names}


def _decided(scope: Scope, message: Message) -> Message:
    """Add the ground on which the request was admitted."""
    field = (DECISION_HEADER, scope[PERMIT].grounds.value.encode("ascii"))
    return {**message, "headers": [*message.get("headers", ()), field]}


class _BodyTimeout:
    """Shows a body that stopped arriving to the application as a disconnect, and answers in its place."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire: Wire | None = scope.get(WIRE)
        if scope["type"] != "http" or (wire is not None and wire.body_complete):
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
            await respond(scope, send, refuse_request(RefusalFormat.REST, BODY_LATE))
