"""A client connection with a fast path: what becomes of the requests that are not decided at once.

A body that is still coming is held or streamed, a session that is not known is asked about. What the fast path does not
take, or cannot finish at once, goes to the application with what was learnt of it.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from sidecar.doors.body.bounded_body import BodyRefused
from sidecar.doors.fast_path.collected_body import CollectedBody
from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.doors.fast_path.first_write import FirstWrite
from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.fast_path.streamed_body import StreamedBody
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.proxied_response import ProxiedResponse
from sidecar.http.server.connection import FAIL_BODY
from sidecar.http.server.request_head import RequestHead
from sidecar.http.server.serving import Shared
from sidecar.model import Extraction

HOLD: Final = 1.0
"""Seconds that the next piece of a held body may take to come; a slower one is the application's."""


class FastPathProtocol(ForwardingConnection):
    """A client connection that takes what it can by the fast path."""

    __slots__ = ("_authorize", "_budget")

    def __init__(self, shared: Shared, path: FastPath) -> None:
        super().__init__(shared, path)
        self._authorize = path.authorize
        self._budget = path.budget

    def _begin_incomplete(self, head: RequestHead, *, holds: bool) -> None:
        """Begin a request whose body is still coming, or large: hold it, or stream it where no rule looks at it."""
        if self._half_closed or self.write_paused:
            self._begin_application(head)
        elif holds:
            lease = self._budget.lease()
            self._when_over = lease.close
            held = CollectedBody(self, head, lease)
            self._served = held
            self._expect(head, held)
            self.wait_for_more()
            self._feed_buffer()
        elif (line := self.upstream.pool.take()) is not None:
            self._stream(head, line)
        else:
            self._begin_application(head)

    def _stream(self, head: RequestHead, line: UpstreamConnection) -> None:
        """Send the head of a request that no rule looks at, and its body as it comes."""
        arrived = monotonic()
        self._extraction = None
        response = ProxiedResponse(self.upstream, self, self._guard.pass_through(), head.method)
        self._served = response
        # First of all, so that a response to a request that is not whole closes the connection.
        self._expect(head, StreamedBody(self, head, response, line))
        self.expect_body(waiting=True)
        self.follow(line)
        written = head.upstream_head or self.upstream.request_head(head, self.peer)
        response.send(line, written, arrived, complete=False)
        self._feed_buffer()

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
        self.expect_body(waiting=False)
        exchange = self._hand_over(head, body if is_whole else None)
        exchange.extraction = extraction
        if not is_whole:
            self._sink = exchange
            exchange.feed(body, complete=False)
        self.run_beside(exchange.run())
