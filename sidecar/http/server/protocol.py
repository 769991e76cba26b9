"""The hardened server side of HTTP/1.1: one client connection, one request at a time.

Bytes behind the request being served are kept, not parsed: what is wrong with a later request waits until the answers
before it have been given. Refuses by itself what cannot be read in one way only (400, 405, 408, 431).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.types import Scope

from sidecar.http.ports import BodySink, Served
from sidecar.http.server.connection import ABORT, CLOSE, FAIL_BODY, REFUSE_HEAD, Timeouts
from sidecar.http.server.exchange import Exchange
from sidecar.http.server.exchange_connection import ExchangeConnection
from sidecar.http.server.repeated_head import parse_next_head
from sidecar.http.server.request_body import ChunkedBody, LengthBody
from sidecar.http.server.request_head import MAX_TEMPLATE_HEAD, BadRequest, RequestHead, find_head, parse_head
from sidecar.http.server.response_writer import ResponseWriter
from sidecar.http.server.scope import connection_scope, request_scope

PIPELINE_HIGH_WATER: Final = 64 * 1024
"""Bytes kept from behind the request being served before the client is no longer read."""


@dataclass(slots=True)
class Shared:
    """What all connections of a server share."""

    app: Any
    patience: Timeouts = field(default_factory=Timeouts)
    connections: set[HardenedProtocol] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    draining: bool = False
    responses: list[int] = field(default_factory=lambda: [0] * 10)
    """How many responses had a status code of each class, `responses[2]` being 200 to 299."""


class HardenedConfig:
    """What a connection is made from: the application, what all connections share, and the parts of its protocol.

    `hosting` serves what else a hosted application needs than requests, for HostingProtocol.
    """

    def __init__(
        self, app: Any, *, patience: Timeouts | None = None, fast_path: Any = None, hosting: Any = None
    ) -> None:
        self.shared = Shared(app, patience or Timeouts())
        self.fast_path = fast_path
        self.hosting = hosting


class HardenedProtocol(ExchangeConnection):
    """One client connection."""

    __slots__ = ("_body", "_buffer", "_last_head", "_scope", "_shared", "_sink")

    def __init__(self, config: HardenedConfig) -> None:
        super().__init__(config.shared.app, config.shared.patience, config.shared.responses)
        self._shared = config.shared
        self._scope: Scope = {}
        self._buffer = b""
        self._last_head: RequestHead | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._sink: BodySink | None = None

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

    # What the exchange asks for

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the request being served; the server waits for it when it stops.

        Like the application it begins without context variables: where requests are pipelined, this is called in the
        task of the request before.
        """
        task = self.loop.create_task(work, context=Context())
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)
        return task

    def served(self, task: asyncio.Task[None]) -> None:
        """The application has done with a request."""
        self._shared.tasks.discard(task)

    def release_reading(self) -> None:
        """Read on, unless too much is kept already."""
        if len(self._buffer) <= PIPELINE_HIGH_WATER:
            super().release_reading()

    def expect_body(self, *, waiting: bool) -> None:
        """Begin or cease to wait for a piece of the body."""
        if waiting:
            self._wait(self._patience.body, FAIL_BODY)
        elif self._on_deadline == FAIL_BODY:
            self._deadline = None

    def is_fed_to(self, sink: object) -> bool:
        """Whether `sink` still takes the body of a request."""
        return self._body is not None and self._sink is sink

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

    def _closes_after(self) -> bool:
        head = self._head
        if head is None or not head.keep_alive or self._body is not None:
            return True
        # When stopping, nothing but a request that is here already is served after this one.
        return self._shared.draining and b"\r\n\r\n" not in self._buffer

    async def tunnel(self, upstream: asyncio.Transport, first: bytes) -> None:
        """Hand the connection over to a tunnel; returns when that has ended."""
        upstream.write(self._buffer)
        self._buffer = b""
        await super().tunnel(upstream, first)

    # What the server asks for

    def sweep(self, now: float) -> None:
        """Act on what is overdue, and when stopping on what would never end."""
        super().sweep(now)
        if self._is_event_stream():
            if self._half_closed:
                self.abort()
            elif self._shared.draining:
                self._end_event_stream()

    def drain_connection(self) -> None:
        """Begin to stop: end what would never end, and take no new request but those on their way."""
        if self._tunnel is not None:
            self._tunnel.cancel()
        elif self._served is None and not self._closing:
            self._wait(self._patience.last_call, CLOSE)
        self.sweep(self.loop.time())

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
        head = self._last_head
        if head is None or raw != head.raw:
            head = parse_head(raw) if head is None else parse_next_head(raw, head)
            self._last_head = head if end <= MAX_TEMPLATE_HEAD else None
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
        """Feed the body being read; give what comes after it."""
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
        sink.feed(piece, complete=body.complete)
        return rest

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
        self._close_after_answer(self._patience.last_call if self._shared.draining else self._patience.linger)

    def _overdue(self, what: int) -> None:
        if what == REFUSE_HEAD:
            self._refuse(BadRequest(408, "the head of the request did not come in time"))
        elif what != FAIL_BODY:
            super()._overdue(what)
        elif self._served is not None and self._sink is not None:
            self._sink.fail_body(TimeoutError("the rest of the request body did not come in time"))
