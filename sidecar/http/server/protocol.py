"""The hardened server side of HTTP/1.1: one client connection, one request at a time.

Bytes behind the request being served are kept, not parsed: what is wrong with a later request waits until the answers
before it have been given. Refuses by itself what cannot be read in one way only (400, 405, 408, 431).
"""

from __future__ import annotations

import asyncio

from starlette.types import Scope

from sidecar.http.ports import BodySink
from sidecar.http.server.connection import ABORT, CLOSE, FAIL_BODY, REFUSE_HEAD
from sidecar.http.server.exchange import Exchange
from sidecar.http.server.head_reader import HeadReader
from sidecar.http.server.request_body import ChunkedBody, LengthBody
from sidecar.http.server.request_head import BadRequest, RequestHead
from sidecar.http.server.responding import RespondingConnection, ResponseWriter
from sidecar.http.server.scope import connection_scope, request_scope
from sidecar.http.server.serving import PIPELINE_HIGH_WATER, Shared


class HardenedProtocol(RespondingConnection):
    """One client connection."""

    __slots__ = ("_heads", "_scope")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._scope: Scope = {}
        self._heads = HeadReader()

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.shared.connections.add(self)
        self._scope = connection_scope(transport)
        client = self._scope["client"]
        self.peer = client[0] if client else None
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes for the body being read, or for a head."""
        if self._closing:
            return
        if self._body is not None:
            data = self._take_body(self._body, data)
            if not data:
                return
        seen = len(self._buffer)
        self._buffer = self._buffer + data if seen else data
        if self._served is None:
            self._next(seen)
        elif len(self._buffer) > PIPELINE_HIGH_WATER:
            self.hold_reading()

    def eof_received(self) -> bool:
        """The client sends no more. It may have closed altogether, or wait for its answer.

        It has gone if its request is not whole, or its answer a stream, which is not about to end. Otherwise the answer
        has a while to come.
        """
        self._half_closed = True
        if self._closing or self._served is None:
            return False
        if self._body is not None or self._is_stream():
            self._served.lose_client()
            return False
        self._wait(self._patience.half_closed, ABORT)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the request that is served: its client is gone."""
        super().connection_lost(exc)
        self.shared.connections.discard(self)
        served = self._served
        self._forget_request()
        self._line = None
        if served is not None:
            served.lose_client()

    # Requests

    def _next(self, seen: int = 0) -> None:
        """Serve the next request, if its head is there; the first `seen` bytes have been looked at and were not."""
        try:
            head = self._heads.read(self._buffer, seen) if self._buffer else None
        except BadRequest as error:
            self._refuse(error)
            return
        if head is None:
            if self._half_closed:
                self._close()
            else:
                self._wait_for_request()
            return
        self._buffer = self._buffer[len(head.raw) :]
        self._head = head
        self._deadline = None
        self._on_deadline = ABORT
        if self._half_closed:
            self._wait(self._patience.half_closed, ABORT)
        self._begin(head)

    def _wait_for_request(self) -> None:
        if self.shared.draining:
            if self._deadline is None or self._on_deadline != CLOSE:
                self._wait(self._patience.last_call, CLOSE)
        elif not self._buffer:
            self._wait(self._patience.idle, CLOSE)
        elif self._on_deadline != REFUSE_HEAD:
            self._wait(self._patience.head, REFUSE_HEAD)

    def _begin(self, head: RequestHead) -> None:
        """Serve a request whose head is here."""
        self._begin_application(head)

    def _begin_application(self, head: RequestHead) -> None:
        """Have the application serve a request."""
        length = head.length
        if head.chunked or length > len(self._buffer):
            self._begin_before_body(head)
        else:
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            self.run_beside(self._hand_over(head, body).run())

    def _begin_before_body(self, head: RequestHead) -> None:
        exchange = self._hand_over(head, None)
        self._expect(head, exchange)
        self._feed_buffer()
        if self._closing:
            return
        if self._half_closed and self._body is not None:
            # The rest of the body will never come.
            self._finish()
            return
        self.run_beside(exchange.run())

    def _hand_over(self, head: RequestHead, body: bytes | None) -> Exchange:
        """Make what the application gets of a request; `body` is its whole body, or None where that is still read."""
        exchange = Exchange(self, head, self._scope_of(head), body)
        self._served = exchange
        return exchange

    def _scope_of(self, head: RequestHead) -> Scope:
        return request_scope(self._scope, head)

    def answered(self, *, closes: bool) -> None:
        """The answer is complete; go on to the next request, or close."""
        self._forget_request()
        if closes:
            self._finish()
            return
        if self.reading_held:
            self.release_reading()
        if self._buffer or self._half_closed:
            self._next()
        elif self.shared.draining:
            self._wait_for_request()
        else:
            self._wait(self._patience.idle, CLOSE)

    def _forget_request(self) -> None:
        self._served = None
        # It may hold the body.
        self._sink = None
        if self._when_over is not None:
            over, self._when_over = self._when_over, None
            over()

    # The body of a request

    def _expect(self, head: RequestHead, sink: BodySink) -> None:
        """Have the body of a request go to `sink`."""
        self._body = ChunkedBody() if head.chunked else LengthBody(head.length)
        self._sink = sink

    def _feed_buffer(self) -> None:
        """Take what is here of the body."""
        if self._buffer and self._body is not None:
            data, self._buffer = self._buffer, b""
            # What is kept no longer holds the client; the body's sink may do so anew.
            self.release_reading()
            self._buffer = self._take_body(self._body, data)

    def _take_body(self, body: LengthBody | ChunkedBody, data: bytes) -> bytes:
        """Feed what belongs to the body to its sink, and give what is left. Closes the connection on bad chunks."""
        served, sink = self._served, self._sink
        assert served is not None and sink is not None  # noqa: S101, PT018 # for the type checker
        try:
            piece, rest = body.take(data)
        except BadRequest as error:
            self._body = None
            served.lose_client()
            if self.has_begun:
                self.break_off()
            else:
                self._refuse(error)
            return b""
        if body.complete:
            self._body = None
            self.expect_body(waiting=False)
        sink.feed(piece, complete=body.complete)
        return rest

    # Ends

    def _refuse(self, error: BadRequest) -> None:
        """Answer in the application's place and close."""
        self.count_response(error.status)
        text = f"{error.detail}\n".encode("ascii")
        headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"%d" % len(text))]
        self.write(ResponseWriter("", "1.1", error.status, None, headers, closes=True).head + text)
        self._finish()

    def _finish(self) -> None:
        """Close after the last answer of this connection."""
        self._served = None
        self._sink = None
        self._line = None
        self._body = None
        self._buffer = b""
        self._close_after_answer(self._patience.last_call if self.shared.draining else self._patience.linger)

    def _overdue(self, what: int) -> None:
        if what == REFUSE_HEAD:
            self._refuse(BadRequest(408, "the head of the request did not come in time"))
        elif what != FAIL_BODY:
            super()._overdue(what)
        elif self._served is not None and self._sink is not None:
            self._sink.fail_body(TimeoutError("the rest of the request body did not come in time"))

    # The stop of the server

    def sweep(self, now: float) -> None:
        """Act on what is overdue, and when stopping on what would never end."""
        super().sweep(now)
        if self._tunnel is not None:
            if self.shared.draining:
                self._tunnel.cancel()
        elif self._is_event_stream():
            if self._half_closed:
                self.abort()
            elif self.shared.draining:
                self._end_event_stream()

    def drain_connection(self) -> None:
        """Begin to stop: end what would never end, and take no new request but those on their way."""
        if self._served is None and not self._closing:
            self._wait(self._patience.last_call, CLOSE)
        self.sweep(self.loop.time())
