"""One HTTP/1.1 connection to an upstream. It carries one request at a time and gives the response to a receiver.

Theory of operation
-------------------

The pool opens a connection, lends it to one request at a time and forgets it when it closes. The borrower calls
`start`, perhaps `write` and `finish_request`; from then on the transport's callbacks drive the connection. Each
response ends in exactly one of `whole`, `end`, `upgraded` and `failed`, after which no call follows, or in
the borrower's `abort`.

A connection whose response has ended goes back to the pool only if the next response can be told from this one: the
request was sent whole, the upstream keeps the connection open, and no byte came after the response. Otherwise it
closes.

Bytes that arrive while no request is under way would be read as the response to the next one, so they close the
connection. The connection sets its `deadline`, and the pool fails what is overdue.

    state      event                      next       receiver
    ---------  -------------------------  ---------  --------
    idle       start, part of a request   sending
    idle       start, a whole request     awaiting
    idle       bytes                      closed
    idle       end of stream              closed
    sending    rest of the request        awaiting
    sending    response head              receiving  head
    sending    whole response             closed     end
    sending    end of stream              closed     failed
    awaiting   interim response           awaiting   interim
    awaiting   response head              receiving  head
    awaiting   whole response             idle       end
    awaiting   response and more          closed     end
    awaiting   switching protocols        switched   upgraded
    awaiting   end of stream              closed     failed
    awaiting   deadline                   closed     failed
    awaiting   abort                      closed
    receiving  rest of the response       idle       end
    receiving  end of stream              closed     failed
    receiving  end of stream, as framed   closed     end
    receiving  abort                      closed

A failure before any byte of the response, on a connection that was used before, is *stale*: the upstream has most
likely closed the idle connection while the request was on its way (RFC 9112, section 9.3.1).
"""

from __future__ import annotations

import asyncio
import select
from time import monotonic
from typing import cast

from sidecar.http.client.origin import Origin
from sidecar.http.client.response import ConnectionLost, ResponseTemplate, UpstreamFailure
from sidecar.http.client.response_reader import ResponseReader, ResponseReceiver
from sidecar.http.flow_control import FlowControlled
from sidecar.http.framing import ResponseHead


class ConnectionOwner:
    """What a connection asks of the pool that it belongs to.

    `response_timeout` is how many seconds the upstream has to begin its response. `template` is the response that was
    read last, to recognize one that begins alike.
    """

    def __init__(self, origin: Origin, response_timeout: float) -> None:
        self.origin = origin
        self.response_timeout = response_timeout
        self.template: ResponseTemplate | None = None

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose response has ended."""
        raise NotImplementedError

    def uncount(self, connection: UpstreamConnection) -> None:
        """Let a connection leave the count: it carries an event stream or a tunnel."""
        raise NotImplementedError

    def discard(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is closed or will be."""
        raise NotImplementedError


class UpstreamConnection(FlowControlled):
    """A connection that belongs to a `Pool` and carries one request at a time.

    `arrivals` can be polled for what has arrived and the event loop has not reported yet: unsolicited bytes, or the
    end. The bytes would be read as the answer to the next request.
    """

    def __init__(self, pool: ConnectionOwner) -> None:
        super().__init__()
        self.pool = pool
        self.counted = True
        self.idle_since = 0.0
        self.deadline: float | None = None
        self._reader = ResponseReader()
        self._receiver: ResponseReceiver | None = None
        self.sent = 0.0
        self._used = False
        self._switched = False
        self._request_sent = True
        self.arrivals = select.poll()

    @property
    def state(self) -> str:
        """The state of the table above; `connecting` before the first."""
        if cast("asyncio.Transport | None", self.transport) is None:
            return "connecting"
        if self._switched:
            return "switched"
        if self.transport.is_closing():
            return "closed"
        if self._receiver is None:
            return "idle"
        if self._reader.head is not None:
            return "receiving"
        return "awaiting" if self._request_sent else "sending"

    def __repr__(self) -> str:
        state = self.state
        times = f" for {monotonic() - self.sent:.1f} s" if state in ("sending", "awaiting", "receiving") else ""
        due = "" if self.deadline is None else f", due in {self.deadline - monotonic():.1f} s"
        holds = (", reading held" if self.reading_held else "") + (", writing held" if self.write_paused else "")
        kind = "" if self.counted else ", stream or tunnel"
        used = "used before" if self._used else "new"
        return f"<UpstreamConnection to {self.pool.origin} {state}{times}{due}{holds}{kind}, {used}>"

    # What the owner of the connection does

    def start(
        self, receiver: ResponseReceiver, data: bytes, *, method: str, complete: bool, upgrade: bool = False
    ) -> None:
        """Write the head of a request, and its body if `complete`; the response goes to `receiver`.

        `sent` is the time of that, and later that of `finish_request`.
        """
        self.sent = monotonic()
        if self.transport.is_closing():
            # It was lost between being handed over and being used, when it had no receiver.
            self.pool.discard(self)
            receiver.failed(ConnectionLost("the upstream closed the connection", stale=self._used))
            return
        # First of all, so that the bytes leave; what arrives is handled in a later turn of the event loop.
        self.transport.write(data)
        self._receiver = receiver
        self._reader.begin(receiver, is_head=method == "HEAD", upgrade=upgrade)
        self._request_sent = complete
        self.deadline = self.sent + self.pool.response_timeout if complete else None

    def write(self, data: bytes) -> None:
        """Write a piece of the request's body."""
        self.transport.write(data)

    def finish_request(self) -> None:
        """Note that the whole request has been written: from now on the answer is due."""
        self._request_sent = True
        if self._reader.head is None:
            self.sent = monotonic()
            self.deadline = self.sent + self.pool.response_timeout

    async def drain(self) -> None:
        """Wait until the upstream has read enough for more to be written; it has to do so in time."""
        if self.write_paused and not self.transport.is_closing():
            self.deadline = monotonic() + self.pool.response_timeout
            try:
                await FlowControlled.drain(self)
            finally:
                self.deadline = None

    def abort(self) -> None:
        """Give the exchange up: the receiver gets no further call, and the connection is closed."""
        self._receiver = None
        self._drop()

    def fail(self, failure: UpstreamFailure) -> None:
        """Close the connection, and fail a receiver that waits."""
        receiver, self._receiver = self._receiver, None
        self.deadline = None
        self._drop()
        if receiver is not None:
            receiver.failed(failure)

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        super().connection_made(transport)
        self.idle_since = monotonic()
        self.arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read what the upstream sent."""
        receiver = self._receiver
        if receiver is None:
            self._drop()
            return
        template = self.pool.template
        if template is None or (body := self._reader.recognise(template, data)) is None:
            self._read(data)
            return
        self._finish()
        receiver.whole(template.head, body)

    def eof_received(self) -> None:
        """End a body that only the end of the connection ends; otherwise the answer is cut off."""
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Account for a connection that is closed."""
        if exc is None:
            self._ended()
        else:
            self.fail(ConnectionLost("the upstream broke the connection", stale=self._is_untouched()))
        self.resume_writing()
        self.pool.discard(self)

    def _read(self, data: bytes) -> None:
        reader = self._reader
        interims = reader.interims
        had_head = reader.head is not None
        try:
            first = reader.feed(data)
        except UpstreamFailure as failure:
            self.fail(failure)
            return
        if first is not None:
            self._switch(reader.switching_head(), first)
            return
        if reader.head is not None and not had_head:
            self.deadline = None
            if reader.head.framing.event_stream:
                self.pool.uncount(self)
        elif reader.interims > interims and self.deadline is not None:
            self.deadline = monotonic() + self.pool.response_timeout
        if reader.done:
            self.pool.template = reader.template(data) or self.pool.template
            self._end()
        elif self._receiver is not None:
            self._receiver.flush()

    # Ends

    def _switch(self, head: ResponseHead, first: bytes) -> None:
        receiver, self._receiver = self._receiver, None
        self.deadline = None
        self._switched = True
        self.pool.uncount(self)
        self.pool.discard(self)
        if receiver is not None:
            receiver.upgraded(head, self.transport, first)

    def _end(self) -> None:
        receiver = self._receiver
        self._finish()
        if receiver is not None:
            receiver.end()

    def _finish(self) -> None:
        """Be ready for another request, or close; the caller still has to inform the receiver."""
        self._receiver = None
        self.deadline = None
        self.idle_since = monotonic()
        self._used = True
        if self._reader.unfit or not self._request_sent:
            self._drop()
        else:
            if self.reading_held:
                self.release_reading()
            self.pool.release(self)

    def _ended(self) -> None:
        head = self._reader.head
        if head is not None and head.until_close and not self._reader.done:
            self._reader.done = True
            self._end()
        else:
            self.fail(ConnectionLost("the upstream closed the connection", stale=self._is_untouched()))

    def _is_untouched(self) -> bool:
        return self._used and not self._reader.touched

    def _drop(self) -> None:
        self.transport.abort()
        self.pool.discard(self)
