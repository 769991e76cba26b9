"""One HTTP/1.1 connection to an upstream: writes a request, parses the answer, tells a `Sink` by plain calls.

It never looks behind the end of an answer: bytes that come there make the connection unfit for another request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

import httptools

from sidecar.backends.response import (
    BadResponse,
    ConnectionLost,
    ResponseHead,
    ResponseTimeout,
    Sink,
    UpstreamFailure,
    read_head,
)
from sidecar.core.framing import Framing

if TYPE_CHECKING:
    from sidecar.backends.pool import Pool

MAX_RESPONSE_HEAD: Final = 256 * 1024
"""Most bytes of an answer's header fields."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})

logger = logging.getLogger(__name__)


class UpstreamConnection(asyncio.Protocol):
    """A connection that belongs to a `Pool` and carries one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # set before anybody sees the connection
        self.counted = True
        self.idle_since = 0.0
        self.deadline: float | None = None
        self._used = False
        self._sink: Sink | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._upgrade = False
        self._is_head = False
        self._request_sent = True
        self._answered = False
        self._done = False
        self._dirty = False
        self._head_bytes = 0
        self._status = 0
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head: ResponseHead | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._reading_held = False

    # What the owner of the connection does

    def start(self, sink: Sink, data: bytes, *, method: str, upgrade: bool = False, complete: bool) -> None:
        """Write the head of a request, and its body if `complete`; the answer goes to `sink`."""
        if self.transport.is_closing():
            # It was lost between being handed over and being used, when there was nobody to tell.
            self.pool.discard(self)
            sink.failed(ConnectionLost("the upstream closed the connection", stale=self._used))
            return
        self._sink = sink
        self._is_head = method == "HEAD"
        self._upgrade = upgrade
        self._answered = self._done = False
        self._head = None
        self._request_sent = complete
        self.deadline = self.pool.response_deadline() if complete else None
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Write a piece of the request's body."""
        self.transport.write(data)

    def finish_request(self) -> None:
        """Note that the whole request has been written: from now on the answer is due."""
        self._request_sent = True
        if self._head is None:
            self.deadline = self.pool.response_deadline()

    async def drain(self) -> None:
        """Wait until the upstream has read enough for more to be written."""
        if self._paused and not self.transport.is_closing():
            self._writable = asyncio.get_running_loop().create_future()
            self.deadline = self.pool.response_deadline()
            try:
                await self._writable
            finally:
                self.deadline = None
                self._writable = None

    def pause_reading(self) -> None:
        """Read no more of the answer until `resume_reading`."""
        if not self._reading_held and not self.transport.is_closing():
            self._reading_held = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._reading_held and not self.transport.is_closing():
            self._reading_held = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Give the exchange up: nothing more is told, and the connection is closed."""
        self._sink = None
        self.transport.abort()
        self.pool.discard(self)

    def is_stale(self, now: float) -> bool:
        """Whether the connection should not carry another request."""
        return self.transport.is_closing() or now >= self.idle_since + self.pool.idle

    def expire(self) -> None:
        """Fail the exchange because the upstream took too long."""
        self._fail(ResponseTimeout("the upstream did not answer in time"))

    def shut(self) -> None:
        """Close the connection; a sink that waits is told."""
        self._fail(ConnectionLost("the connection was closed"))

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what the upstream sent."""
        if self._sink is None:
            self._drop()
            return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._done:
                self._fail(_as_bad_response(error))
                return
            self._dirty = True
        if self._done:
            self._finish()
        elif self._sink is not None:
            self._sink.flush()

    def eof_received(self) -> None:
        """End a body that only the end of the connection ends; otherwise the answer is cut off."""
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Account for a connection that is no more."""
        if exc is None:
            self._ended()
        else:
            self._fail(ConnectionLost("the upstream broke the connection", stale=self._is_untouched()))
        self.resume_writing()
        self.pool.discard(self)

    def pause_writing(self) -> None:
        """The upstream reads slower than the client sends."""
        self._paused = True

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What the parser tells

    def on_message_begin(self) -> None:
        """A status line begins: that of this request's answer, or of one that nobody asked for."""
        if self._done:
            self._dirty = True
        self._status = 0
        self._reason = b""
        self._headers = []
        self._head_bytes = 0

    def on_status(self, reason: bytes) -> None:
        """Take (a part of) the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; trailers are dropped."""
        if self._head is not None:
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_RESPONSE_HEAD:
            raise BadResponse("the upstream's header fields are too large")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell the sink, or note what has to be told when the parser has returned."""
        if self._done or self._sink is None:
            return
        if self._parser.get_http_version() not in _VERSIONS:
            raise BadResponse("the upstream does not speak HTTP/1.1")
        status = self._parser.get_status_code()
        if status < 200:
            self._interim(status)
            return
        self.deadline = None
        keep_alive = self._parser.should_keep_alive()
        self._head = read_head(status, self._reason, self._headers, keep_alive=keep_alive, bodiless=self._is_head)
        self._dirty = not keep_alive
        self._sink.head(self._head)
        if self._is_head:
            self._done = True
        elif self._head.framing.event_stream:
            self.pool.uncount(self)

    def on_body(self, data: bytes) -> None:
        """Tell the sink; bytes after a complete answer are nobody's."""
        if self._done:
            self._dirty = True
        elif self._sink is not None:
            self._sink.body(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._head is not None:
            self._done = True

    # Ends

    def _interim(self, status: int) -> None:
        assert self._sink is not None  # noqa: S101 # for the type checker: the caller has looked
        if status < 100 or (status == 101 and not (self._upgrade and self._parser.should_upgrade())):
            raise BadResponse(f"the upstream answered with an unexpected status {status}")
        if status != 101:
            if self.deadline is not None:
                self.deadline = self.pool.response_deadline()
            self._sink.interim(ResponseHead(status, self._reason, self._headers, Framing()))

    def _switch(self, first: bytes) -> None:
        sink, self._sink = self._sink, None
        self.deadline = None
        self.pool.uncount(self)
        self.pool.discard(self)
        if sink is not None:
            sink.upgraded(ResponseHead(101, self._reason, self._headers, Framing()), self.transport, first)

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        self.deadline = None
        self._used = True
        if self._dirty or not self._request_sent:
            self._drop()
        else:
            if self._reading_held:
                self.resume_reading()
            if self._is_head:
                # The parser cannot be told that no body follows, and would take the next answer for one.
                self._parser = httptools.HttpResponseParser(self)
            self.pool.release(self)
        if sink is not None:
            sink.end()

    def _ended(self) -> None:
        if self._head is not None and self._head.until_close and not self._done:
            self._done = self._dirty = True
            self._finish()
        else:
            self._fail(ConnectionLost("the upstream closed the connection", stale=self._is_untouched()))

    def _is_untouched(self) -> bool:
        return self._used and not self._answered

    def _fail(self, failure: UpstreamFailure) -> None:
        sink, self._sink = self._sink, None
        self.deadline = None
        self._drop()
        if sink is not None:
            sink.failed(failure)

    def _drop(self) -> None:
        self.transport.abort()
        self.pool.discard(self)


def _as_bad_response(error: httptools.HttpParserError) -> UpstreamFailure:
    cause = error.__context__
    if isinstance(cause, UpstreamFailure):
        return cause
    if cause is not None:
        logger.error("failed to handle an answer of the upstream", exc_info=cause)
    return BadResponse(f"the upstream's answer is malformed: {error}")
