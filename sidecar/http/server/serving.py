"""A client connection while it serves a request: the body is fed to what takes it, and the server knows the tasks.

Here are also the ends that the server itself gives a connection: a refusal in the application's place, and the stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.http.ports import BodySink
from sidecar.http.server.connection import CLOSE, FAIL_BODY, REFUSE_HEAD, Timeouts
from sidecar.http.server.request_body import ChunkedBody, LengthBody
from sidecar.http.server.request_head import BadRequest, RequestHead
from sidecar.http.server.responding import RespondingConnection, ResponseWriter

PIPELINE_HIGH_WATER: Final = 64 * 1024
"""Bytes kept from behind the request being served before the client is no longer read."""


@dataclass(slots=True)
class Shared:
    """What all connections of a server share: what each is made from, and what the server knows of all.

    `fast_path` is for FastPathProtocol, and `hosting` for HostingProtocol.
    """

    app: Any
    patience: Timeouts = field(default_factory=Timeouts)
    fast_path: Any = None
    hosting: Any = None
    connections: set[ServingConnection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    draining: bool = False
    responses: list[int] = field(default_factory=lambda: [0] * 10)
    """How many responses had a status code of each class, `responses[2]` being 200 to 299."""


class ServingConnection(RespondingConnection):
    """A client connection that feeds the body of a request to a sink, and runs tasks for the request.

    `_buffer` are bytes that came and were not taken yet, `_body` is the body being read, and `_sink` takes it.
    """

    __slots__ = ("_body", "_buffer", "_shared", "_sink", "app", "peer")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.patience, shared.responses)
        self._shared = shared
        self.app = shared.app
        self.peer: str | None = None
        self._buffer = b""
        self._body: LengthBody | ChunkedBody | None = None
        self._sink: BodySink | None = None

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

    # The body

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

    # Ends

    def _closes_after(self) -> bool:
        head = self._head
        if head is None or not head.keep_alive or self._body is not None:
            return True
        # When stopping, nothing but a request that is here already is served after this one.
        return self._shared.draining and b"\r\n\r\n" not in self._buffer

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
