"""The fast path: small JSON writes and unguarded requests without a body, served without a task where all is known.

It changes speed and nothing else. It decides and forwards by the same rules as the application; what it does not take,
or cannot finish at once, goes to the application with what was learnt of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from sidecar.doors.fast_path.first_write import Asking, FirstWrite
from sidecar.doors.fast_path.request_template import RequestTemplate
from sidecar.doors.refusal import Response, identified
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Classification
from sidecar.guard.permit import Permit
from sidecar.http.client.proxied_response import ProxiedResponse
from sidecar.http.framing import ForwardedHead, read_framing
from sidecar.http.ports import FastForwarder, UpstreamError, UpstreamExchange
from sidecar.http.server.exchange import Exchange
from sidecar.http.server.protocol import HardenedConfig, HardenedProtocol
from sidecar.http.server.request_head import MAX_TEMPLATE_HEAD, RequestHead
from sidecar.http.server.responding import Served
from sidecar.model import Extraction, Head
from sidecar.request_context import on_behalf_of

MAX_BODY: Final = 64 * 1024
"""Most bytes of a body that is waited for here."""
HOLD: Final = 1.0
"""Seconds a body may take to come; a slower one is the application's."""

_METHODS: Final = frozenset({"POST", "PATCH"})  # not PUT: that may be repeated, and nothing is repeated here
_NEVER: Final = frozenset({b"content-encoding", b"expect", b"upgrade"})
_BODYLESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Methods whose requests take the fast path without a body: each is idempotent (RFC 9110, section 9.2.2)."""

logger = logging.getLogger(__name__)


class Classifier(Protocol):
    """Says what the head of a request alone says."""

    def classify(self, head: Head) -> Classification | None:
        """Classify the request; None where no rule looks at it."""
        ...


class ImmediateGuard(Protocol):
    """The part of a guard that answers at once."""

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        ...

    def permit_known(self, extraction: Extraction) -> Permit | None:
        """Permit what needs no question; None leaves the request to the application."""
        ...


@dataclass(frozen=True, slots=True)
class FastPath:
    """What the fast path decides with and forwards by; the application behind it uses the same."""

    extractor: Classifier
    guard: ImmediateGuard
    forwarder: FastForwarder
    unanswered: Callable[[Extraction | None, UpstreamError], Response]
    """Answers a request that was forwarded in vain."""
    unguarded: UnguardedWrites | None = None
    asking: Asking | None = None
    """Decides what the guard cannot decide at once; without it that is the application's."""


class FastPathProtocol(HardenedProtocol):
    """A client connection that takes what it can by the fast path."""

    __slots__ = (
        "_asking",
        "_bodyless",
        "_extraction",
        "_extractor",
        "_guard",
        "_template",
        "_unguarded",
        "forwarder",
        "unanswered",
    )

    def __init__(self, config: HardenedConfig) -> None:
        super().__init__(config)
        path: FastPath = config.fast_path
        self._extractor = path.extractor
        self._guard = path.guard
        self._unguarded = path.unguarded
        self._asking = path.asking
        self.forwarder = path.forwarder
        self.unanswered = path.unanswered
        self._template: RequestTemplate | None = None
        self._bodyless: RequestTemplate | None = None
        self._extraction: Extraction | None = None

    def fail(self, failure: Exception) -> None:
        """Answer in the upstream's place, or break the answer off that it had begun."""
        head = self._head
        assert head is not None  # noqa: S101 # for the type checker: a request is being served
        with on_behalf_of(head.method, head.target, head.raw_headers):
            error = self.forwarder.explain(failure)
            if self.has_begun:
                self.break_off()
                return
            self.respond(self.unanswered(self._extraction, error))

    def respond(self, response: Response) -> None:
        """Answer in the upstream's place, with the id of the current request."""
        response = identified(response)
        self.begin(ForwardedHead(response.status, None, response.headers, read_framing(response.headers)))
        self.piece(response.body)
        self.end()

    def drain_connection(self) -> None:
        """Begin to stop; a request that waits for its body has been read, so it is served."""
        if self._on_deadline == self._give_way:
            self._give_way()
        super().drain_connection()

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
        # A client that does not read its answers is made to wait by the application; the fast path never waits.
        line = None if self.write_paused else self.forwarder.take()
        if line is None:
            self._give_way()
            return
        arrived = monotonic()
        body = self._buffer[start:end]
        extraction, permit = self._decide(template, body)
        request = b"".join((template.written_before, digits, template.written_after, body))
        if permit is None:
            self.forwarder.put_back(line)
            if extraction is None or self._asking is None or not self._asking.fits(len(body)):
                self._give_way(extraction)
                return
            self._buffer = self._buffer[end:]
            first = FirstWrite(self._asking, self, template, extraction, request=request, size=len(body))
            self._serve(template, first)
            self.run_beside(first.run(arrived))
            return
        self._buffer = self._buffer[end:]
        self.send(template, permit, line, request, arrived=arrived, extraction=extraction)

    def _decide(self, template: RequestTemplate, body: bytes) -> tuple[Extraction | None, Permit | None]:
        """Read the body, where a rule looks at it, and decide what needs no question."""
        extraction = None
        try:
            if template.classification is not None:
                extraction = template.classification.extract(body)
                return extraction, self._guard.permit_known(extraction)
            permit = self._guard.pass_through()
            if self._unguarded is not None:
                self._unguarded.look(template, body)
        except Exception:
            logger.exception("the fast path could not decide a request")
            return extraction, None
        return None, permit

    def send(
        self,
        template: RequestTemplate,
        permit: Permit,
        line: UpstreamExchange,
        request: bytes,
        *,
        arrived: float,
        extraction: Extraction | None,
    ) -> None:
        """Send a whole request on its way."""
        self._extraction = extraction
        response = ProxiedResponse(self.forwarder, self, permit, template.method)
        self._serve(template, response)
        response.send(line, request, arrived, complete=True)

    def _serve(self, template: RequestTemplate, served: Served) -> None:
        self._deadline = None
        if self._half_closed:
            self._wait(self._patience.half_closed, self.abort)
        self._head = template.head
        self._served = served

    def _begin(self, head: RequestHead) -> None:
        if head.method in _BODYLESS and is_bodyless(head):
            if not (self._classify(head) and self._pass(head)):
                super()._begin(head)
            return
        if not (takes_fast_path(head) and self._classify(head)):
            super()._begin(head)
            return
        classification = head.memo.classification
        if classification is not None and (classification.after is not None or not classification.needs_body):
            super()._begin(head)
            return
        self._template = self._make_template(head)
        self._buffer = head.raw + self._buffer
        self._next()

    def _classify(self, head: RequestHead) -> bool:
        """Have the head classified, once for all requests that repeat it; False where that failed."""
        memo = head.memo
        if not memo.classified:
            try:
                memo.classification = self._extractor.classify(Head(head.method, head.target, head.headers))
            except Exception:
                logger.exception("the fast path could not classify a request")
                return False
            memo.classified = True
        return True

    def _pass(self, head: RequestHead) -> bool:
        """Forward a request without a body, if no rule looks at it and a connection is free."""
        if head.memo.classification is not None:
            return False
        line = None if self.write_paused else self.forwarder.take()
        if line is None:
            return False
        arrived = monotonic()
        template = self._bodyless
        if template is None or template.memo is not head.memo:
            template = self._bodyless = self._make_template(head)
        permit = self._guard.pass_through()
        self.send(template, permit, line, template.written_before, arrived=arrived, extraction=None)
        return True

    def _make_template(self, head: RequestHead) -> RequestTemplate:
        template = RequestTemplate(head, self.peer)
        template.write_as(self.forwarder.request_head(template))
        return template

    def _give_way(self, extraction: Extraction | None = None) -> None:
        """Leave the request to the application, with what was learnt of it."""
        head = self._take_head()
        assert head is not None  # noqa: S101 # for the type checker: a head was recognised
        if self._template is not None:
            head.memo.classification, head.memo.classified = self._template.classification, True
        super()._begin(head)
        if isinstance(self._served, Exchange):
            self._served.extraction = extraction


def is_bodyless(head: RequestHead) -> bool:
    """Whether the request has no body and asks for nothing but its answer."""
    return not head.has_body and not head.upgrade and head.version == "1.1" and head.target[:1] == b"/"


def takes_fast_path(head: RequestHead) -> bool:
    """Whether the fast path may try the request: small, JSON, and nothing special about it."""
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
