"""Rules that act on answers: a write that the upstream refuses for a missing session is sent again once it exists.

The request is forwarded at once and held. The upstream's answer passes unchanged unless it is complete, is what the
profile calls `says_missing`, and the session could be created. Only what the upstream has refused is sent twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.doors.body.body_copy import BodyCopy
from sidecar.doors.body.bounded_body import BodyBudget, Replay
from sidecar.doors.body.content_coding import coding_of, decode
from sidecar.doors.middleware import begin
from sidecar.extract.extractor import Classification, Extractor
from sidecar.extract.refused import RequestRefused
from sidecar.guard.recovery import Recovery
from sidecar.http.ports import WIRE, Wire
from sidecar.model import Headers, Reference, RuleKind
from sidecar.profile.answer_pattern import AnswerPattern
from sidecar.profile.rules import PathRule
from sidecar.session_client.calls import values_of
from sidecar.session_client.sse import EndlessEvent, Event, EventStream

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are held to be read; a longer one passes."""

_EVENTS: Final = b"text/event-stream"


class AnswerMiddleware:
    """Carries out the rules of the kinds `recover` and `forget`; it stands between the guard and the application.

    Request bodies are held within `budget`. `scope_names` are the names of the profile's scope.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        extractor: Extractor,
        recovery: Recovery,
        budget: BodyBudget,
        scope_names: tuple[str, ...],
    ) -> None:
        self._app = app
        self._extractor = extractor
        self._recovery = recovery
        self._budget = budget
        self._scope_names = scope_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises what the application raises."""
        classification = None
        if scope["type"] == "http":
            _, classification = begin(scope, self._extractor)
        rule = None if classification is None else classification.after
        if classification is None or rule is None:
            await self._app(scope, receive, send)
            return
        wire: Wire | None = scope.get(WIRE)
        if wire is not None:
            wire.wants_messages = True
        if rule.kind is RuleKind.FORGET:
            await self._forget(classification, scope, receive, send)
        else:
            await self._recover(classification, rule, scope, receive, send)

    async def _forget(self, classification: Classification, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a deletion; the session is forgotten before the client gets the response."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
                reference = _reference(classification, b"", b"")
                if reference is not None:
                    self._recovery.forget(reference)
            await send(message)

        await self._app(scope, receive, noting)

    async def _recover(
        self, classification: Classification, rule: PathRule, scope: Scope, receive: Receive, send: Send
    ) -> None:
        pattern = rule.says_missing
        assert pattern is not None  # noqa: S101 # a rule that recovers has one
        ticket = self._recovery.ticket()
        with self._budget.lease() as lease:
            copy = BodyCopy(scope["headers"], receive, lease, self._budget.limit)

            async def recovers() -> bool:
                reference = self._missing(classification, pattern, scope, copy, answer)
                return reference is not None and await self._recovery.recover(reference, ticket)

            answer = _HeldAnswer(pattern.status, send, recovers)
            with contextlib.suppress(_Abandoned):
                await self._app(scope, copy.receive, answer.send)
            if answer.is_dropped:
                wire: Wire | None = scope.get(WIRE)
                if wire is not None:
                    wire.arrived = monotonic()
                await self._app(scope, Replay(b"".join(copy.pieces), receive).receive, send)

    def _missing(
        self, classification: Classification, pattern: AnswerPattern, scope: Scope, copy: BodyCopy, answer: _HeldAnswer
    ) -> Reference | None:
        """The session that the request names, if the answer says that just this one is missing."""
        body = b"".join(copy.pieces)
        if not copy.is_whole or len(body) > self._budget.limit:
            return None
        try:
            content = decode(body, coding_of(scope["headers"]), limit=self._budget.limit)
        except RequestRefused:
            return None
        reference = _reference(classification, body, content)
        if reference is None:
            return None
        values = values_of(reference, self._scope_names)
        return reference if pattern.is_met(answer.status, answer.content(), values) else None


class _Abandoned(OSError):
    """The rest of an answer is not wanted; to the application it is as if the client had gone."""


class _HeldAnswer:
    """An answer that is held while it may be the one that is waited for; any other is sent on as it comes.

    `recovers` is asked once, when the answer is complete, or the first event of a stream is. If it says so, the answer
    is dropped: then `is_dropped` is true.
    """

    def __init__(self, status: int, send: Send, recovers: Callable[[], Awaitable[bool]]) -> None:
        self.status = status
        self.is_dropped = False
        self._is_held = False
        self._send = send
        self._recovers = recovers
        self._messages: list[Message] = []
        self._body = b""
        self._headers: Headers = ()
        self._events: EventStream | None = None
        self._first_event: str | None = None

    async def send(self, message: Message) -> None:
        """Take one message of the application. Raises OSError where the client has gone, or no more is wanted."""
        if message["type"] == "http.response.start" and message["status"] == self.status:
            self._is_held = True
            self._headers = [(name.lower(), value) for name, value in message["headers"]]
            if any(name == b"content-type" and value.startswith(_EVENTS) for name, value in self._headers):
                self._events = EventStream()
        if not self._is_held:
            await self._send(message)
            return
        self._messages.append(message)
        body = message.get("body", b"")
        self._body += body
        if self._events is not None and self._first_event is None:
            self._first_event = _first_event(self._events, body)
        is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_complete or self._first_event is not None:
            self._is_held = False
            self.is_dropped = len(self._body) <= MAX_ANSWER and await self._recovers()
            if not self.is_dropped:
                await self._release()
            elif not is_complete:
                raise _Abandoned
        elif len(self._body) > MAX_ANSWER:
            self._is_held = False
            await self._release()

    def content(self) -> Any:
        """What the answer's JSON, or that of its first event, stands for; None where it is none."""
        try:
            if self._first_event is not None:
                return orjson.loads(self._first_event)
            return orjson.loads(decode(self._body, coding_of(self._headers), limit=MAX_ANSWER))
        except (RequestRefused, orjson.JSONDecodeError):
            return None

    async def _release(self) -> None:
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)


def _first_event(events: EventStream, data: bytes) -> str | None:
    """The data of the first event that some bytes of a stream complete."""
    try:
        return next((item.data for item in events.feed(data) if isinstance(item, Event)), None)
    except EndlessEvent:
        return None


def _reference(classification: Classification, raw: bytes, content: bytes) -> Reference | None:
    """The one session that a request names; None where it names none, or not clearly."""
    calls = classification.extract_coded(raw, content).calls
    return calls[0].reference if len(calls) == 1 else None
