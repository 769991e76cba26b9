"""The fast lane: small JSON writes of known sessions and bodyless requests that no rule looks at, without a task.

It changes speed and nothing else. What it takes it decides and forwards by the same rules as the application; what it
does not take, or cannot finish at once, goes the ordinary way as if the lane had never seen it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from sidecar.doors.refusal import Response, identified
from sidecar.doors.request_template import RequestTemplate
from sidecar.http.framing import ForwardedHead, ResponseHead
from sidecar.http.headers import encode_fields
from sidecar.http.server.protocol import HardenedConfig, HardenedProtocol
from sidecar.http.server.request_head import MAX_TEMPLATE_HEAD, RequestHead
from sidecar.http.server.response_writer import ResponseWriter
from sidecar.model import Head, Permit
from sidecar.ports import FastForwarder, UpstreamError, UpstreamExchange
from sidecar.request_context import on_behalf_of

MAX_BODY: Final = 64 * 1024
"""Most bytes of a body that is waited for here."""
HOLD: Final = 1.0
"""Seconds a body may take to come; a slower one is the application's."""

_METHODS: Final = frozenset({"POST", "PATCH"})  # not PUT: that may be repeated, and nothing is repeated here
_NEVER: Final = frozenset({b"content-encoding", b"expect", b"upgrade"})
_BODYLESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Methods whose requests take the lane without a body: each is idempotent (RFC 9110, section 9.2.2)."""
_TEMPLATE: Final = "fast path"
"""What the template of a bodyless request is kept under among its head's notes."""

logger = logging.getLogger(__name__)


class Door(Protocol):
    """Who decides, and refuses where the upstream fails; the application behind the lane does so too."""

    def prepare(self, head: Head) -> Callable[[bytes], Permit | None]:
        """Give what decides, at once or not at all (None), a body that comes with this head, whatever its length."""
        ...

    def passing(self, head: Head) -> Callable[[], Permit] | None:
        """Give what admits every request with this head, where no rule looks at such a request; otherwise None."""
        ...

    def unanswered(self, head: Head, body: bytes, error: UpstreamError) -> Response:
        """Give the answer for a request that was forwarded in vain."""
        ...


class FastPathProtocol(HardenedProtocol):
    """A client connection that takes what it can by the fast lane."""

    def __init__(self, config: HardenedConfig, **_: object) -> None:
        super().__init__(config)
        door, forwarder = config.fast_path
        self._door: Door = door
        self.forwarder: FastForwarder = forwarder
        self._template: RequestTemplate | None = None
        self._crossing: FastPathExchange | None = None

    def pause_writing(self) -> None:
        """Hold the upstream back while the client does not read."""
        super().pause_writing()
        if self._crossing is not None:
            self._crossing.line.pause_reading()

    def resume_writing(self) -> None:
        """Let the upstream go on."""
        super().resume_writing()
        if self._crossing is not None:
            self._crossing.line.resume_reading()

    def land(self, data: bytes, *, closes: bool) -> None:
        """Write the last of an answer, and go on to the next request."""
        # The upstream connection is somebody else's from now on, and must not be held back for this client.
        self._crossing = None
        self._transport.write(data)
        self.answered(closes=closes)

    def drain_connection(self) -> None:
        """Begin to stop; a request that waits for its body has been read, so it is served."""
        if self._on_deadline == self._give_way:
            self._give_way()
        super().drain_connection()

    def unanswered(self, head: Head, body: bytes, error: UpstreamError) -> Response:
        """Give the answer for a request that was forwarded in vain."""
        return self._door.unanswered(head, body, error)

    def _next(self, seen: int = 0) -> None:
        """Forward a request at once if it is known and a connection is free; otherwise it is the application's."""
        template = self._template
        if template is None or (found := template.match(self._buffer)) is None:
            super()._next(seen)
            return
        digits, start = found
        end = start + int(digits)
        if not start < end <= start + MAX_BODY:
            self._give_way()
            return
        if len(self._buffer) < end:
            if self._on_deadline != self._give_way:
                self._wait(HOLD, self._give_way)
            return
        # A client that does not read its answers is made to wait by the application; here nobody would.
        line = None if self.write_paused else self.forwarder.take()
        if line is None:
            self._give_way()
            return
        arrived = monotonic()
        body = self._buffer[start:end]
        try:
            admit = template.decide(body)
        except Exception:
            logger.exception("the fast lane could not decide")
            admit = None
        if admit is None:
            self.forwarder.put_back(line)
            self._give_way()
            return
        self._buffer = self._buffer[end:]
        request = b"".join((template.written_before, digits, template.written_after, body))
        self._cross(FastPathExchange(self, template, admit, line, request=request, body=body), arrived)

    def _cross(self, crossing: FastPathExchange, arrived: float) -> None:
        """Send the request of an exchange on its way."""
        self._deadline = None
        if self._half_closed:
            self._wait(self._patience.half_closed, self.abort)
        self._exchange = self._crossing = crossing
        crossing.send(arrived)

    def _begin(self, head: RequestHead) -> None:
        if head.method in _BODYLESS and is_bodyless(head):
            if not self._pass(head):
                super()._begin(head)
            return
        if not takes_fast_path(head):
            super()._begin(head)
            return
        try:
            decide = self._door.prepare(Head(head.method, head.target, head.headers))
        except Exception:
            logger.exception("the fast lane could not weigh a request")
            super()._begin(head)
            return
        template = RequestTemplate(head, self.peer, decide)
        template.write_as(self.forwarder.request_head(template))
        self._template = template
        self._buffer = head.raw + self._buffer
        self._next()

    def _pass(self, head: RequestHead) -> bool:
        """Forward a request without a body, if no rule looks at it and a connection is free."""
        template: RequestTemplate | None = head.notes.get(_TEMPLATE)
        if template is None:
            template = head.notes[_TEMPLATE] = self._bodyless_template(head)
        line = None if self.write_paused or template.passes is None else self.forwarder.take()
        if line is None or template.passes is None:
            return False
        arrived = monotonic()
        crossing = FastPathExchange(self, template, template.passes(), line, request=template.written_before, body=b"")
        self._cross(crossing, arrived)
        return True

    def _bodyless_template(self, head: RequestHead) -> RequestTemplate:
        template = RequestTemplate(head, self.peer, lambda _body: None)
        try:
            template.passes = self._door.passing(template.model)
        except Exception:
            logger.exception("the fast lane could not weigh a request")
        else:
            template.write_as(self.forwarder.request_head(template))
        return template

    def _give_way(self) -> None:
        """Leave the request to the application."""
        head = self._take_head()
        assert head is not None  # noqa: S101 # for the type checker: a head was recognised
        super()._begin(head)


class FastPathExchange:
    """One request on the fast lane: the `ports.Receiver` of its answer."""

    _answer: ResponseWriter | None = None
    _unsent = b""
    _repetition: asyncio.Task[None] | None = None

    def __init__(
        self,
        protocol: FastPathProtocol,
        template: RequestTemplate,
        admit: Permit,
        line: UpstreamExchange,
        *,
        request: bytes,
        body: bytes,
    ) -> None:
        self.line = line
        self._protocol = protocol
        self._template = template
        self._request = request
        self._body = body
        self._admit = admit

    # For the protocol

    def send(self, arrived: float) -> None:
        """Send the request, which was here at `arrived`."""
        method = self._template.method
        self._protocol.forwarder.send(self._admit, self.line, self._request, self, arrived, method=method)

    def lose_client(self) -> None:
        """The client has gone: nobody wants the answer."""
        if self._repetition is not None:
            self._repetition.cancel()
        self.line.abort()

    @property
    def is_stream(self) -> bool:
        """Whether it has begun an answer of no declared length."""
        return self._answer is not None and not self._answer.has_length

    @property
    def is_event_stream(self) -> bool:
        """Whether it answers a GET with a stream of events, which would never end by itself."""
        return self._answer is not None and self._answer.event_stream and self._template.method == "GET"

    def end_event_stream(self) -> None:
        """End a stream that would never end by itself; where its framing allows, as a complete answer."""
        assert self._answer is not None  # noqa: S101 # for the type checker: an event stream has begun
        self.line.abort()
        try:
            last = self._unsent + self._answer.end()
        except RuntimeError:
            self._protocol.break_off(hard=not self._answer.delimited)
        else:
            self._protocol.land(last, closes=True)

    # For the line: the answer

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on, but for the 100 that nobody on this lane waits for."""
        if head.status != 100:
            fields = encode_fields(self._protocol.forwarder.interim_fields(head))
            self._protocol.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, fields))

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """Write a whole answer, and go on to the next request."""
        passed = self._protocol.forwarder.answer_head(head, self._admit)
        self._protocol.count_response(head.status)
        closes = self._template.closes or self._protocol.is_last()
        written = passed.written.get(closes)
        if written is None:
            written = passed.written[closes] = self._begin(passed, closes=closes).head
        self._protocol.land(written + body, closes=closes)

    def head(self, head: ResponseHead) -> None:
        """Begin the answer."""
        passed = self._protocol.forwarder.answer_head(head, self._admit)
        self._protocol.count_response(head.status)
        self._answer = self._begin(passed, closes=self._template.closes or self._protocol.is_last())
        self._unsent = self._answer.head

    def body(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        assert self._answer is not None  # noqa: S101 # for the type checker: the head comes first
        self._unsent += self._answer.piece(data)

    def flush(self) -> None:
        """Write what has come."""
        if self._unsent:
            self._protocol.write(self._unsent)
            self._unsent = b""

    def end(self) -> None:
        """Write the rest, and go on to the next request."""
        assert self._answer is not None  # noqa: S101 # for the type checker: the head comes first
        self._protocol.land(self._unsent + self._answer.end(), closes=self._answer.closes)

    def upgraded(self, _head: ResponseHead, transport: asyncio.Transport, _first: bytes, /) -> None:
        """Nobody on this lane asks for an upgrade, so no connection gives one."""
        transport.abort()

    def failed(self, failure: Exception) -> None:
        """Answer in the upstream's place, or break the answer off that it had begun."""
        protocol, template = self._protocol, self._template
        unanswered = self._answer is None
        if unanswered and not template.has_body and self._repetition is None and protocol.forwarder.is_stale(failure):
            self._repetition = protocol.run_beside(self._repeat())
            return
        with on_behalf_of(template.method, template.target, template.headers):
            error = protocol.forwarder.explain(failure)
            if self._answer is not None:
                protocol.break_off(hard=not self._answer.delimited)
                return
            refused = identified(protocol.unanswered(template.model, self._body, error))
        protocol.count_response(refused.status)
        closes = template.closes or protocol.is_last()
        answer = ResponseWriter(template.method, template.version, refused.status, None, refused.headers, closes=closes)
        protocol.land(answer.head + answer.piece(refused.body) + answer.end(), closes=answer.closes)

    async def _repeat(self) -> None:
        """Send the request once more, on a new connection."""
        try:
            self.line = await self._protocol.forwarder.connect()
        except UpstreamError as error:
            self.failed(error)
        else:
            if self._protocol.write_paused:
                self.line.pause_reading()
            self.line.start(self, self._request, method=self._template.method, complete=True)

    def _begin(self, head: ForwardedHead, *, closes: bool) -> ResponseWriter:
        method, version = self._template.method, self._template.version
        return ResponseWriter(
            method, version, head.status, head.reason, head.headers, closes=closes, framing=head.framing
        )


def is_bodyless(head: RequestHead) -> bool:
    """Whether the request has no body and asks for nothing but its answer."""
    return not head.has_body and not head.upgrade and head.version == "1.1" and head.target[:1] == b"/"


def takes_fast_path(head: RequestHead) -> bool:
    """Whether the fast lane may try the request: small, JSON, and nothing special about it."""
    return (
        head.method in _METHODS
        and 0 < head.length <= MAX_BODY
        and len(head.raw) <= MAX_TEMPLATE_HEAD
        and head.version == "1.1"
        and not _NEVER.intersection(head.fields)
        and head.fields.get(b"content-type", b"")[:16].lower() == b"application/json"
        and head.target[:1] == b"/"
        and b"%" not in head.target
    )
