"""The hardened server side of HTTP/1.1: one client connection, one request at a time.

Bytes behind the request being served are kept, not parsed: what is wrong with a later request waits until the answers
before it have been given. Refuses by itself what cannot be read in one way only (400, 405, 408, 431).
"""

from __future__ import annotations

import asyncio
import time
from contextvars import Context

from starlette.types import Scope

from sidecar.http.ports import Served
from sidecar.http.server.connection import ABORT, CLOSE, REFUSE_HEAD
from sidecar.http.server.exchange import Exchange
from sidecar.http.server.request_head import MAX_TEMPLATE_HEAD, BadRequest, RequestHead, find_head, parse_head
from sidecar.http.server.request_template import RequestTemplate
from sidecar.http.server.scope import connection_scope, request_scope
from sidecar.http.server.serving import PIPELINE_HIGH_WATER, ServingConnection, Shared


class HardenedProtocol(ServingConnection):
    """One client connection."""

    __slots__ = ("_last", "_scope")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._scope: Scope = {}
        self._last: RequestTemplate | None = None

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._shared.connections.add(self)
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
        """The client sends no more. It may have gone altogether, or wait for its answer.

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
        """Tell the application, if it still serves a request of this client."""
        super().connection_lost(exc)
        self._shared.connections.discard(self)
        served, self._served = self._served, None
        self._sink = None
        self._let_go()
        self._line = None
        if served is not None:
            served.lose_client()

    def answered(self, *, closes: bool) -> None:
        """The answer is complete; go on to the next request, or close."""
        self._served = None
        # It may hold the body.
        self._sink = None
        self._let_go()
        if closes:
            self._finish()
            return
        if self.reading_held:
            self.release_reading()
        if self._buffer or self._half_closed:
            self._next()
        elif self._shared.draining:
            self._wait_for_request()
        else:
            self._wait(self._patience.idle, CLOSE)

    def _let_go(self) -> None:
        """Let go of what a subclass holds for the request being served."""

    # Requests

    def _next(self, seen: int = 0) -> None:
        """Serve the next request, if its head is there; the first `seen` bytes have been looked at and were not."""
        try:
            head = self._take_head(seen) if self._buffer else None
        except BadRequest as error:
            self._refuse(error)
            return
        if head is not None:
            self._begin(head)
        elif self._half_closed:
            self._close()
        else:
            self._wait_for_request()

    def _take_head(self, seen: int = 0) -> RequestHead | None:
        """Cut a head off the buffer, if it is complete. The same bytes as last time need no second reading."""
        end = find_head(self._buffer, seen)
        if not end:
            return None
        raw = self._buffer[:end]
        last = self._last
        head = parse_head(raw) if last is None else last.parse_next(raw)
        if last is None or head is not last.head:
            self._last = RequestTemplate(head) if end <= MAX_TEMPLATE_HEAD else None
        self._buffer = self._buffer[end:]
        return head

    def _wait_for_request(self) -> None:
        if self._shared.draining:
            if self._deadline is None or self._on_deadline != CLOSE:
                self._wait(self._patience.last_call, CLOSE)
        elif not self._buffer:
            self._wait(self._patience.idle, CLOSE)
        elif self._on_deadline != REFUSE_HEAD:
            self._wait(self._patience.head, REFUSE_HEAD)

    def _scope_of(self, head: RequestHead) -> Scope:
        return request_scope(self._scope, head)

    def _begin(self, head: RequestHead) -> None:
        """Hand a request to the application."""
        exchange = self._hand_over(head)
        length = head.length
        if 0 < length <= len(self._buffer):
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            exchange.feed(body, complete=True)
        elif head.has_body:
            self._expect(head, exchange)
            self._feed_buffer()
            if self._closing:
                return
            if self._half_closed and self._body is not None:
                # The rest of the body will never come.
                self._finish()
                return
        self._run(exchange)

    def _hand_over(self, head: RequestHead) -> Exchange:
        """Make what the application gets of a request."""
        exchange = Exchange(self, head, self._scope_of(head), time.monotonic())
        self._serve(head, exchange)
        return exchange

    def _serve(self, head: RequestHead, served: Served) -> None:
        """Have `served` serve a request from now on; what was waited for in front of it is here."""
        self._deadline = None
        self._on_deadline = ABORT
        if self._half_closed:
            self._wait(self._patience.half_closed, ABORT)
        self._head = head
        self._served = served

    def _run(self, exchange: Exchange) -> None:
        """Have the application serve a request."""
        exchange.task = self.loop.create_task(exchange.run(), context=Context())
        self._shared.tasks.add(exchange.task)
