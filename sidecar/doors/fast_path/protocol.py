"""The fast path: every request that can be decided from what is here and known, served without a task.

It changes speed and nothing else. It decides and forwards by the same rules as the application; what it does not take,
or cannot finish at once, goes to the application with what was learnt of it.
"""

from __future__ import annotations

import logging
from typing import Final

from sidecar.doors.body.bounded_body import BodyRefused
from sidecar.doors.fast_path.collected_body import CollectedBody
from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.doors.fast_path.first_write import FirstWrite
from sidecar.doors.fast_path.parts import FastPath
from sidecar.http.client.response import IDEMPOTENT
from sidecar.http.server.connection import FAIL_BODY
from sidecar.http.server.request_head import RequestHead
from sidecar.http.server.serving import Shared
from sidecar.model import Extraction

MAX_UNCOUNTED: Final = 64 * 1024
"""Most bytes of a body that are decided at once without a place among the bodies that are held."""
HOLD: Final = 1.0
"""Seconds that the next piece of a held body may take to come; a slower one is the application's."""

# The ways of a request, as its head says. 0 stands for a head that was not seen yet.
_APPLICATION: Final = 1
_UNGUARDED: Final = 2
_GUARDED: Final = 3

_NEVER: Final = frozenset({b"expect", b"upgrade"})

logger = logging.getLogger(__name__)


class FastPathProtocol(ForwardingConnection):
    """A client connection that takes what it can by the fast path."""

    __slots__ = ("_authorize", "_budget", "_classify", "_limit")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        path: FastPath = shared.fast_path
        self._classify = path.classify
        self._authorize = path.authorize
        self._budget = path.budget
        self._limit = MAX_UNCOUNTED if path.authorize is None else path.budget.limit

    def _begin(self, head: RequestHead) -> None:
        """Serve a request: at once if it is here, known, and a connection is free; otherwise in a slower way."""
        way = head.way or self._choose_way(head)
        length = head.length
        if way == _APPLICATION or (way == _GUARDED and length > self._limit):
            super()._begin(head)
        elif head.chunked or length > len(self._buffer) or (way == _GUARDED and length > MAX_UNCOUNTED):
            self._begin_incomplete(head, holds=way == _GUARDED or 0 < length <= MAX_UNCOUNTED)
        else:
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            self.serve(head, body)

    def _choose_way(self, head: RequestHead) -> int:
        """Choose the way of a request, once for all requests that repeat its head."""
        head.way = _APPLICATION
        if takes_fast_path(head):
            try:
                classification = head.classify(self._classify)
            except Exception:
                logger.exception("the fast path could not classify a request")
                return _APPLICATION
            if classification is None:
                head.way = _UNGUARDED
            elif (
                # The application does all that a rule wants beside a look at the body.
                head.length and classification.needs_body and classification.after is None
            ) and b"content-encoding" not in head.fields:
                head.way = _GUARDED
        return head.way

    def _begin_incomplete(self, head: RequestHead, *, holds: bool) -> None:
        """Begin a request whose body is still coming, or large: hold it, or stream it where no rule looks at it."""
        if self._half_closed or self.write_paused:
            super()._begin(head)
        elif holds:
            lease = self._budget.lease()
            self._when_over = lease.close
            held = CollectedBody(self, head, lease)
            self._served = held
            self._expect(head, held)
            self.wait_for_more()
            self._feed_buffer()
        elif (line := self.upstream.pool.take()) is not None:
            self.stream(head, line)
        else:
            super()._begin(head)

    def wait_for_more(self) -> None:
        """Wait for another piece of a body that is held, but not for long."""
        self._wait(HOLD, FAIL_BODY)

    def ask(self, head: RequestHead, body: bytes, extraction: Extraction | None, arrived: float) -> None:
        """Have the guard decide a whole request with a question to the session service; an unread one gives way."""
        authorize = self._authorize
        if extraction is None or authorize is None or not self._has_room(len(body)):
            self.give_way(head, body, extraction)
            return
        first = FirstWrite(self, head, body, extraction, authorize)
        self._served = first
        self.run_beside(first.run(arrived))

    def _has_room(self, size: int) -> bool:
        """Whether a body of `size` bytes counts among those that are held, now if it did not before."""
        if self._when_over is None:
            try:
                self._when_over = self._budget.lease(size).close
            except BodyRefused:
                return False
        return True

    def give_way(self, head: RequestHead, body: bytes, extraction: Extraction | None) -> None:
        """Leave a request to the application, with what is here of its body and what was learnt of it."""
        is_whole = self._body is None
        self._forget_request()
        exchange = self._hand_over(head, body if is_whole else None)
        exchange.extraction = extraction
        if not is_whole:
            self._sink = exchange
            exchange.feed(body, complete=False)
        self._run(exchange)


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
