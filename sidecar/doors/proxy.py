"""The reverse proxy as an application: read what must be read, ask the guard, then forward or refuse.

Every path belongs to the memory service, `*` and odd characters included, so there are no routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from starlette.applications import Starlette
from starlette.types import ASGIApp

from sidecar.doors.bounded_body import BodyReader, BodyRefused, ClientDisconnected, replay
from sidecar.doors.refusal import Response, identified, refuse_reading, refuse_request
from sidecar.extract.extractor import Extractor
from sidecar.extract.refused import RequestRefused
from sidecar.guard.guard import Guard
from sidecar.model import Classification, Extraction, Grounds, Head, Permit, Reason, Refusal, RefusalFormat, Refusals
from sidecar.ports import WIRE, Forwarder, PermitLapsed, Receive, Scope, Send, Telemetry, UpstreamError
from sidecar.request_context import enter_request

Decide: TypeAlias = Callable[[bytes], Permit | None]
"""Decides a body, without its content coding, at once or not at all."""

Weighed: TypeAlias = tuple[Classification | Extraction | None, Decide]

_READ_TWICE: Final = 64 * 1024
"""Most bytes of a body that is tried at once before it is read in full: trying may be in vain."""

_MOST_LAPSES: Final = 3
"""How often one request may lapse while it waits to be sent before it is refused for now."""
_LAPSED: Final = Refusal(
    Reason.OVERLOADED, "What is known of the session changed again and again while the write waited.", retry_after=1
)

_UNREAD = Classification(RefusalFormat.REST, needs_body=False)


class ProxyApp(Starlette):
    """A Starlette application that hands every request, whatever its path, to `endpoint`."""

    def __init__(self, endpoint: ASGIApp) -> None:
        super().__init__()
        self._endpoint = endpoint

    def build_middleware_stack(self) -> ASGIApp:
        """Do without middleware that turns exceptions into answers, the server's business, and without a router."""
        return self._endpoint


def head_of(scope: Scope) -> Head:
    """The request's head as the reader wants it: the target as it stood on the wire, names in lower case."""
    return Head(scope["method"], scope["extensions"][WIRE].target, scope["headers"])


def begin(scope: Scope) -> None:
    """Have what is logged and asked from here on name this request."""
    enter_request(scope["method"], scope["extensions"][WIRE].target, scope["headers"])


async def respond(send: Send, response: Response) -> None:
    """Send a complete answer of our own, with the id of its request."""
    response = identified(response)
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})


async def forward_unread(forwarder: Forwarder, admit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
    """Forward a request whose body nobody reads; the upstream's failures are answered as REST."""
    try:
        await forwarder.forward(admit, scope, receive, send)
    except UpstreamError as error:
        await respond(send, unanswered(error))


def _refusal(error: UpstreamError) -> Refusal:
    return Refusal(error.reason, error.detail, retry_after=error.retry_after)


def _all(reading: Extraction, refuse: Refusal) -> Refusals:
    return Refusals((refuse,) * len(reading.calls))


def unanswered(error: UpstreamError) -> Response:
    """Give the answer for a request of which nothing was read and that was forwarded in vain."""
    return refuse_request(_UNREAD, _refusal(error))


class PassthroughHandler:
    """Mode `off`: forwards everything and looks at nothing."""

    def __init__(self, forwarder: Forwarder, telemetry: Telemetry) -> None:
        self._forwarder = forwarder
        self._telemetry = telemetry

    def prepare(self, _head: Head) -> Callable[[bytes], Permit]:
        """Give what admits on the fast lane: everything."""
        return self._admit

    def passing(self, _head: Head) -> Callable[[], Permit]:
        """Give what admits on the fast lane without a body: everything."""
        return self._pass

    def _pass(self) -> Permit:
        self._telemetry.decided("passed")
        return Permit(Grounds.PASSED)

    def _admit(self, _body: bytes) -> Permit:
        return self._pass()

    def unanswered(self, _head: Head, _body: bytes, error: UpstreamError) -> Response:
        """Give the answer for a request that the fast lane forwarded in vain."""
        return unanswered(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begin(scope)
        self._telemetry.decided("passed")
        await forward_unread(self._forwarder, Permit(Grounds.PASSED), scope, receive, send)


class EnforceHandler:
    """Mode `enforce`: decides before it forwards."""

    def __init__(
        self, reader: Extractor, guard: Guard, forwarder: Forwarder, telemetry: Telemetry, bodies: BodyReader
    ) -> None:
        self._reader = reader
        self._guard = guard
        self._forwarder = forwarder
        self._telemetry = telemetry
        self._bodies = bodies

    def prepare(self, head: Head) -> Decide:
        """Give what decides a body that comes with this head at once or not at all: for the fast lane."""
        plan = self._reader.plan(head)
        if plan is None:
            return lambda _body: self._guard.passed()
        if isinstance(plan, Extraction):
            return lambda _body: None
        prepared = self._reader.prepare(head)
        plain, find = prepared.plain, prepared.find
        admit_named, admit_if_known = self._guard.admit_named, self._guard.admit_if_known

        def decide(body: bytes) -> Permit | None:
            if plain is not None and (named := plain(body)) is not None:
                return admit_named(*named)
            if find is None:
                return self._guard.admit_known(self._reader.read(head, body))
            try:
                return admit_if_known(find(body))
            except RequestRefused:
                return None

        return decide

    def passing(self, head: Head) -> Callable[[], Permit] | None:
        """Give what admits every request with this head, where no rule looks at such a request: for the fast lane."""
        return self._guard.passed if self._reader.plan(head) is None else None

    def unanswered(self, head: Head, body: bytes, error: UpstreamError) -> Response:
        """Give the answer for a request that the fast lane forwarded in vain."""
        if not isinstance(self._reader.plan(head), Classification):
            return unanswered(error)
        reading = self._reader.read(head, body)
        return refuse_reading(reading, _all(reading, _refusal(error)).refusals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begin(scope)
        head = head_of(scope)
        plan, decide = self._weigh(head, scope)
        if plan is None:
            await forward_unread(self._forwarder, self._guard.passed(), scope, receive, send)
        elif isinstance(plan, Extraction):
            await self._decide(plan, scope, receive, send)
        elif plan.needs_body:
            await self._read_and_decide((plan, decide), head, scope, receive, send)
        else:
            await self._decide(self._reader.read(head, b""), scope, receive, send)

    def _weigh(self, head: Head, scope: Scope) -> Weighed:
        """Give what the head alone says, and what decides its body: once for all requests that begin alike."""
        notes = scope["extensions"][WIRE].notes
        weighed: Weighed | None = notes.get(self)
        if weighed is None:
            weighed = notes[self] = self._reader.plan(head), self.prepare(head)
        return weighed

    async def _read_and_decide(
        self, weighed: tuple[Classification, Decide], head: Head, scope: Scope, receive: Receive, send: Send
    ) -> None:
        plan, decide = weighed
        try:
            async with self._bodies.hold(head.headers, receive) as body:
                admit = decide(body.content) if len(body.content) <= _READ_TWICE else None
                if admit is None:
                    reading = self._reader.read(head, body.content)
                    await self._act(await self._guard.decide(reading), reading, scope, replay(body.raw, receive), send)
                else:
                    await self._forward(admit, (head, body.content), scope, replay(body.raw, receive), send)
        except BodyRefused as refused:
            self._telemetry.decided("refused", refused.refuse.reason, None, refused.refuse.detail)
            await respond(send, refuse_request(plan, refused.refuse))
        except ClientDisconnected:
            return

    async def _forward(
        self, admit: Permit, request: tuple[Head, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            await self._forwarder.forward(
                admit, scope, receive, send, lambda: self._guard.still_valid(self._reader.read(*request))
            )
        except PermitLapsed:
            await self._decide(self._reader.read(*request), scope, receive, send)
        except UpstreamError as error:
            await respond(send, self.unanswered(*request, error))

    async def _decide(self, reading: Extraction, scope: Scope, receive: Receive, send: Send) -> None:
        decided = self._guard.admit_known(reading) or await self._guard.decide(reading)
        await self._act(decided, reading, scope, receive, send)

    async def _act(
        self, decided: Permit | Refusals, reading: Extraction, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Forward or refuse; what lapsed while it waited to be sent is decided again."""
        lapses = 0
        while isinstance(decided, Permit):
            try:
                await self._forwarder.forward(decided, scope, receive, send, lambda: self._guard.still_valid(reading))
            except PermitLapsed:
                lapses += 1
                decided = await self._guard.decide(reading) if lapses < _MOST_LAPSES else _all(reading, _LAPSED)
            except UpstreamError as error:
                decided = _all(reading, _refusal(error))
            else:
                return
        await respond(send, refuse_reading(reading, decided.refusals))
