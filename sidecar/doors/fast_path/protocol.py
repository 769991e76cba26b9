"""The fast path: every request that can be decided from what is here and known, served without a task.

It changes speed and nothing else. It decides and forwards by the same rules as the application; what it does not take,
or cannot finish at once, goes to the application with what was learnt of it.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

from sidecar.doors.body.bounded_body import BodyRefused, Lease
from sidecar.doors.fast_path.collected_body import CollectedBody
from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.doors.fast_path.first_write import FirstWrite
from sidecar.doors.fast_path.parts import FastPath
from sidecar.guard.permit import Permit
from sidecar.http.client.response import IDEMPOTENT
from sidecar.http.server.connection import FAIL_BODY
from sidecar.http.server.exchange import Exchange
from sidecar.http.server.request_head import RequestHead
from sidecar.http.server.request_template import RequestTemplate
from sidecar.http.server.serving import Shared
from sidecar.model import Extraction, Head

MAX_UNCOUNTED: Final = 64 * 1024
"""Most bytes of a body that are decided at once without a place among the bodies that are held."""
HOLD: Final = 1.0
"""Seconds that the next piece of a held body may take to come; a slower one is the application's."""

_NEVER: Final = frozenset({b"expect", b"upgrade"})

logger = logging.getLogger(__name__)


class FastPathProtocol(ForwardingConnection):
    """A client connection that takes what it can by the fast path."""

    __slots__ = (
        "_asking",
        "_classified_by",
        "_lease",
        "_limit",
        "_template",
    )

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        path: FastPath = shared.fast_path
        self._classified_by = path.classify
        self._asking = path.asking
        self._template: RequestTemplate | None = None
        self._limit = MAX_UNCOUNTED if path.asking is None else path.asking.budget.limit
        self._lease: Lease | None = None

    # A body that is held

    def collected(self) -> None:
        """Decide the request."""
        held = self._served
        assert isinstance(held, CollectedBody)  # noqa: S101 # for the type checker: it has just said so
        self._lease = held.lease
        if not self._try(held.head, self.upstream.request_head(held.head, self.peer), held.whole()):
            self.give_up(self._extraction)

    def give_up(self, extraction: Extraction | None = None) -> None:
        """Leave the request to the application, with what is here of its body and what was learnt of it."""
        held = self._served
        assert isinstance(held, CollectedBody)  # noqa: S101 # for the type checker: it has just said so
        held.lose_client()
        self._lease = None
        exchange = self._hand_over(held.head)
        exchange.extraction = extraction
        self._sink = exchange
        exchange.feed(held.whole(), complete=self._body is None)
        self._run(exchange)

    def wait_for_more(self) -> None:
        """Wait for another piece of a body that is held, but not for long."""
        self._wait(HOLD, FAIL_BODY)

    def _let_go(self) -> None:
        """Give back what was counted for the body of the request."""
        lease = self._lease
        if lease is not None:
            self._lease = None
            lease.close()

    # Requests

    def _next(self, seen: int = 0) -> None:
        """Forward a request at once if it is known and a connection is free; otherwise it is the application's."""
        template = self._template
        if template is None or (found := template.recognise(self._buffer)) is None:
            super()._next(seen)
            return
        written, start, end = found
        head = template.head
        is_guarded = head.classification is not None
        if start == end or (is_guarded and end - start > self._limit):
            self._give_way(template, start)
            return
        buffer = self._buffer
        if len(buffer) < end or (is_guarded and end - start > MAX_UNCOUNTED):
            self._begin_incomplete(template, start)
            return
        self._buffer = buffer[end:]
        if not self._try(head, written, buffer[start:end]):
            self._buffer = buffer
            self._give_way(template, start, self._extraction)

    def _try(self, head: RequestHead, written: bytes, body: bytes) -> bool:
        """Serve a request that is whole, if that can be done at once. `_extraction` keeps what was learnt of it."""
        self._extraction = None
        # A client that does not read its answers is made to wait by the application; the fast path never waits.
        line = None if self.write_paused else self.upstream.pool.take()
        if line is None:
            return False
        arrived = monotonic()
        extraction, permit = self._decide(head, body)
        if permit is not None:
            self.send(head, permit, line, written, body, arrived=arrived, extraction=extraction)
            return True
        self.upstream.pool.release(line)
        self._extraction = extraction
        asking = self._asking
        if extraction is None or asking is None:
            return False
        if self._lease is None:
            try:
                self._lease = asking.budget.lease(len(body))
            except BodyRefused:
                return False
        first = FirstWrite(asking, self, head, extraction, written=written, body=body)
        self._serve(head, first)
        self.run_beside(first.run(arrived))
        return True

    def _begin_incomplete(self, template: RequestTemplate, start: int) -> None:
        """Begin a request whose body is still coming: hold it if a rule looks at it or it is small, or stream it."""
        if self._half_closed or self.write_paused:
            self._give_way(template, start)
            return
        head = self._cut_head(template, start)
        if head.classification is not None or head.length <= MAX_UNCOUNTED:
            lease = None if self._asking is None else self._asking.budget.lease()
            held = CollectedBody(self, head, lease)
            self._serve(head, held)
            self._expect(head, held)
            self.wait_for_more()
            self._feed_buffer()
            return
        line = self.upstream.pool.take()
        if line is None:
            super()._begin(head)
        else:
            self.stream(head, line)

    def _decide(self, head: RequestHead, body: bytes) -> tuple[Extraction | None, Permit | None]:
        """Read the body, where a rule looks at it, and decide what needs no question."""
        extraction = None
        try:
            if head.classification is not None:
                extraction = head.classification.extract(body)
                return extraction, self._guard.permit_known(extraction)
            permit = self._guard.pass_through()
            self.look(head, body)
        except Exception:
            logger.exception("the fast path could not decide a request")
            return extraction, None
        return None, permit

    def _begin(self, head: RequestHead) -> None:
        if not (takes_fast_path(head) and self._classify(head)):
            super()._begin(head)
            return
        classification = head.classification
        if head.length and self._last is not None and (classification is None or may_hold(head)):
            self.upstream.request_head(head, self.peer)
            self._template = self._last
            self._buffer = head.raw + self._buffer
            self._next()
        elif classification is not None or head.length or not self.send_unguarded(head):
            super()._begin(head)

    def _classify(self, head: RequestHead) -> bool:
        """Have the head classified, once for all requests that repeat it; False where that failed."""
        if not head.classified:
            try:
                head.classification = self._classified_by(Head(head.method, head.target, head.headers))
            except Exception:
                logger.exception("the fast path could not classify a request")
                return False
            head.classified = True
        return True

    def _cut_head(self, template: RequestTemplate, end: int) -> RequestHead:
        """Cut the head that ends at `end` off the buffer; it was recognised, and keeps what was learnt of its like."""
        head = template.parse_next(self._buffer[:end])
        self._buffer = self._buffer[end:]
        return head

    def _give_way(self, template: RequestTemplate, end: int, extraction: Extraction | None = None) -> None:
        """Leave a request to the application, with what was learnt of it; its head ends at `end` in the buffer."""
        super()._begin(self._cut_head(template, end))
        if isinstance(self._served, Exchange):
            self._served.extraction = extraction


def takes_fast_path(head: RequestHead) -> bool:
    """Whether the fast path may try the request: it asks for nothing but its answer.

    A chunked request that may be repeated is the application's, which can.
    """
    return (
        head.version == "1.1"
        and head.target[:1] == b"/"
        and not head.upgrade
        and not (head.has_body and _NEVER.intersection(head.fields))
        and not (head.chunked and head.method in IDEMPOTENT)
    )


def may_hold(head: RequestHead) -> bool:
    """Whether a rule looks at the body of the request, and at nothing else that the application has to do."""
    classification = head.classification
    return (
        classification is not None
        and classification.after is None
        and classification.needs_body
        and b"content-encoding" not in head.fields
    )
