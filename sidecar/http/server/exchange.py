"""One request that an application serves: the ASGI side of the server.

It is also the `ports.Wire` of its request: what ASGI loses is kept here for the forwarder, and the response may come by
plain calls instead of messages.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final

from mypy_extensions import mypyc_attr
from starlette.types import Message, Scope

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.response import UpstreamError
from sidecar.http.framing import ForwardedHead
from sidecar.http.headers import encode_fields
from sidecar.http.ports import WIRE, BodySink, ResponseClient, Served, Wire
from sidecar.http.response_messages import write_message
from sidecar.http.server.request_head import RequestHead
from sidecar.http.server.responding import RespondingConnection
from sidecar.model import Extraction, Headers

BODY_HIGH_WATER: Final = 128 * 1024
"""Bytes of a body held for the application before the client is no longer read."""

logger = logging.getLogger(__name__)


@mypyc_attr(native_class=False)  # mypyc has no native OSError
class ClientDisconnected(OSError):
    """The client is gone; nothing can be sent to it (ASGI HTTP, version 2.4)."""


class Exchange(Wire, ResponseClient, Served, BodySink):
    """What the protocol and the application know of the request being served.

    `body` is the whole body, or None where `feed` brings it. `received` are the bytes of the body so far, `status` is
    that of the response once it has begun, and `sent` are the bytes of its body so far. `answered` says that the
    response was complete, or the connection became a tunnel.
    """

    def __init__(
        self, protocol: RespondingConnection, head: RequestHead, scope: Scope, body: bytes | None = None
    ) -> None:
        self.head = head
        self.peer = protocol.peer
        self.extraction: Extraction | None = None
        self.arrived = time.monotonic()
        self.wants_messages = False
        self.response: Served | None = None
        self.status: int | None = None
        self.sent = 0
        self.received = len(body or b"")
        self._scope = scope
        self.body_complete = body is not None
        self.answered = False
        self.gone = False
        self._protocol = protocol
        self._continue_due = head.expects_continue and body is None
        self._pieces: list[bytes] = [body] if body else []
        self._held = 0
        self._told_end = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Event | None = None
        scope[WIRE] = self

    # For the forwarder: what is not described here is described in `ports.Wire`

    @property
    def body_arrived(self) -> bool:
        return self.body_complete or bool(self._pieces)

    @property
    def left(self) -> bool:
        """Whether the client closed the connection before its answer was complete."""
        return self.gone and not self.answered

    def yield_continue(self) -> bool:
        due, self._continue_due = self._continue_due, False
        return due

    def break_off(self) -> None:
        """Break the connection in a way that even an answer delimited by its end cannot hide."""
        self._protocol.break_off()

    async def tunnel(self, reason: bytes, headers: Headers, upstream: asyncio.Transport, first: bytes) -> None:
        """Answer 101 and pass bytes both ways until either side ends."""
        if self.gone:
            upstream.abort()
            return
        self.answered = True
        self._protocol.count_response(101)
        self._protocol.write(b"HTTP/1.1 101 %b\r\n%b\r\n" % (reason, encode_fields(headers)))
        await self._protocol.tunnel(upstream, first)

    # For the upstream's response: what is not described here is described in `ports.ResponseClient`

    def follow(self, line: UpstreamConnection) -> None:
        self._protocol.follow(line)

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        if self.status is None and not self.gone:
            self._protocol.inform(status, reason, headers)

    def whole(self, head: ForwardedHead, body: bytes) -> None:
        self.status = head.status
        self.sent = len(body)
        self._protocol.whole(head, body)
        self._complete()

    def begin(self, head: ForwardedHead) -> None:
        self._protocol.begin(head)
        self.status = head.status
        self._continue_due = False

    def piece(self, data: bytes) -> None:
        self.sent += len(data)
        self._protocol.piece(data)

    def flush(self) -> None:
        self._protocol.flush()

    def end(self) -> None:
        self._protocol.end()
        self._complete()

    def fail(self, failure: UpstreamError) -> None:  # noqa: ARG002 # the forwarder gets it too, and raises it
        """Break the answer off, if it has begun."""
        if self.status is not None:
            self.break_off()

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._protocol.run_beside(work)

    # For the protocol

    def feed(self, piece: bytes, *, complete: bool) -> None:
        """Take a piece of the body, or its end."""
        self._continue_due = False
        self.body_complete = complete
        self.received += len(piece)
        if complete:
            self.arrived = time.monotonic()
        if piece and not self.answered:
            self._pieces.append(piece)
            self._held += len(piece)
            if self._held > BODY_HIGH_WATER:
                self._protocol.hold_reading()
        self._wake()

    def fail_body(self, failure: Exception) -> None:
        """Raise `failure` in the reader that waits for the body."""
        self._failure = failure
        self._wake()

    def lose_client(self) -> None:
        """Report that the client has gone to each part that waits for it."""
        self.gone = True
        self._wake()
        response, self.response = self.response, None
        if response is not None and not self.answered:
            response.lose_client()

    def end_stream(self) -> None:
        """Give up what streams the answer, which the connection ends."""
        self.lose_client()
        self.answered = True

    # For the application: ASGI

    async def run(self) -> None:
        """Have the application serve the request; an application that leaves the response incomplete is an error."""
        # It holds this exchange: held by it in turn, it would need the garbage collector.
        scope, self._scope = self._scope, {}
        try:
            await self._protocol.shared.app(scope, self.receive, self.send)
        except Exception:
            if not self.gone:
                logger.exception("the application failed")
        if not (self.gone or self.answered):
            await self._answer_for_application()

    async def _answer_for_application(self) -> None:
        if self.status is not None:
            self.break_off()
            return
        headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"21")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"Internal Server Error"})

    async def receive(self) -> Message:
        """Give the next piece of the body. Raises TimeoutError when it does not come in time."""
        if self._continue_due:
            self._continue_due = False
            self._protocol.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._pieces or self._is_over() or self._failure or (self.body_complete and not self._told_end)):
            await self._wait()
        if self._is_over():
            return {"type": "http.disconnect"}
        if self._failure is not None:
            raise self._failure
        pieces, self._pieces = self._pieces, []
        self._held = 0
        self._told_end = self.body_complete
        if self._protocol.reading_held:
            self._protocol.release_reading()
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: Message) -> None:
        """Send a part of the answer. Raises ClientDisconnected where the client is gone, RuntimeError out of order."""
        if self._protocol.write_paused and not self.gone:
            await self._protocol.drain()
        if self.gone:
            raise ClientDisconnected("the client has gone")
        write_message(message, self, has_begun=self.status is not None, is_over=self.answered)

    def _complete(self) -> None:
        self.answered = True
        # It leads back here.
        self.response = None
        self._wake()

    def _is_over(self) -> bool:
        return self.gone or self.answered

    async def _wait(self) -> None:
        # Several tasks of an application may receive: one that asks whether the client has gone, beside one that waits.
        if self._waiter is None:
            self._waiter = asyncio.Event()
        self._protocol.expect_body(waiting=not self.body_complete)
        try:
            await self._waiter.wait()
        finally:
            if not self._is_over():  # otherwise the connection may wait for another request's body by now
                self._protocol.expect_body(waiting=False)

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.set()
            self._waiter = None
