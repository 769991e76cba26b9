"""The response half of a client connection: status lines, pieces and ends become bytes for the client (RFC 9112).

A connection writes one response at a time, by plain calls. It does not matter whether an upstream or an ASGI
application gives the response.
"""

from __future__ import annotations

import http
from typing import Final

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.framing import LAST_CHUNK, ForwardedHead, Framing, encode_chunk, read_framing
from sidecar.http.headers import encode_fields
from sidecar.http.server.serving import ServingConnection, Shared
from sidecar.model import Headers

_REASONS: Final = {status.value: status.phrase.encode("ascii") for status in http.HTTPStatus}


class ResponseWriter:
    """One final answer. Its framing follows from its fields, the request's method and the client's version.

    Fields with neither `Content-Length` nor `Transfer-Encoding` make a chunked body, unless they say
    `Connection: close` or the client speaks HTTP/1.0: then the end of the connection ends it. `closes` says that the
    connection must not be used again. `framing` is what the fields say, where that is known already. Raises
    RuntimeError for a field with a line feed in it.
    """

    __slots__ = ("_chunked", "_left", "closes", "event_stream", "head")

    def __init__(
        self,
        method: str,
        version: str,
        status: int,
        reason: bytes | None,
        headers: Headers,
        *,
        closes: bool,
        framing: Framing | None = None,
    ) -> None:
        said = framing or read_framing(headers)
        fields = list(headers)
        without_body = method == "HEAD" or status in (204, 304)
        self.event_stream = said.event_stream
        self.closes = closes or said.close
        self._left = said.length
        self._chunked = said.chunked
        if said.chunked and (version == "1.0" or status in (204, 304)):
            fields = [field for field in fields if field[0].lower() != b"transfer-encoding"]
            self._chunked = False
        elif not (said.chunked or self.closes or without_body) and said.length is None:
            fields.append((b"Transfer-Encoding", b"chunked"))
            self._chunked = True
        if without_body:
            self._left, self._chunked = 0, False
        elif self._left is None and not self._chunked:
            self.closes = True
        if self.closes and not said.names_connection:
            fields.append((b"Connection", b"close"))
        phrase = _REASONS.get(status, b"") if reason is None else reason
        self.head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, encode_fields(fields))
        if self.head.count(b"\n") != len(fields) + 2:
            raise RuntimeError("a line feed in a header field of the answer")

    @property
    def has_length(self) -> bool:
        """Whether the length of the body was declared, or there is none."""
        return self._left is not None

    @property
    def delimited(self) -> bool:
        """Whether the client can tell a whole body from a cut one, however the connection ends."""
        return self._chunked or self._left is not None

    def piece(self, body: bytes) -> bytes:
        """Write a piece of the body. Raises RuntimeError for more than was declared."""
        if self._chunked:
            return encode_chunk(body)
        if self._left is not None:
            if not self._left:
                return b""
            if len(body) > self._left:
                raise RuntimeError("the answer is longer than its Content-Length")
            self._left -= len(body)
        return body

    def end(self) -> bytes:
        """Write the end of the body. Raises RuntimeError for less than was declared."""
        if self._left:
            raise RuntimeError("the answer is shorter than its Content-Length")
        return LAST_CHUNK if self._chunked else b""


class RespondingConnection(ServingConnection):
    """A client connection that writes the response to the request being served.

    Once the response is over, `answered` says whether the connection serves another request.
    """

    __slots__ = ("_line", "_unsent", "_writer")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._writer: ResponseWriter | None = None
        self._unsent = b""
        self._line: UpstreamConnection | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the final response to the request being served has begun."""
        return self._writer is not None

    def pause_writing(self) -> None:
        """Hold the upstream back while the client does not read."""
        super().pause_writing()
        if self._line is not None:
            self._line.hold_reading()

    def resume_writing(self) -> None:
        """Let the upstream go on."""
        super().resume_writing()
        if self._line is not None:
            self._line.release_reading()

    # A response: begin, any number of pieces, end; or whole; or broken off

    def follow(self, line: UpstreamConnection) -> None:
        """Hold `line` back from now on while the client does not read, until the response is over."""
        self._line = line
        if self.write_paused:
            line.hold_reading()

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Write an interim response, for a client that knows what it is (HTTP/1.1)."""
        head = self._head
        if self._writer is None and head is not None and head.version == "1.1":
            self.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, encode_fields(headers)))

    def whole(self, head: ForwardedHead, body: bytes) -> None:
        """Write a whole response of declared length, and go on to the next request."""
        closes = self._closes_after()
        written = head.written.get(closes)
        if written is None:
            written = head.written[closes] = self._write_head(head, closes=closes).head
        # The upstream connection may lie idle already; held back for this client, it would never be read again.
        self._line = None
        self.transport.write(written + body)
        self.count_response(head.status)
        self.answered(closes=closes)

    def begin(self, head: ForwardedHead) -> None:
        """Begin a response. Its head waits for `flush` or `end`."""
        self.count_response(head.status)
        self._writer = self._write_head(head, closes=self._closes_after())
        self._unsent = self._writer.head

    def piece(self, data: bytes) -> None:
        """Take a piece of the body, which waits for `flush` or `end`. Raises RuntimeError for too many."""
        assert self._writer is not None  # noqa: S101 # for the type checker: the head comes first
        self._unsent += self._writer.piece(data)

    def flush(self) -> None:
        """Write what waits."""
        if self._unsent:
            self.transport.write(self._unsent)
            self._unsent = b""

    def end(self) -> None:
        """Write the rest, and go on to the next request. Raises RuntimeError where less came than was declared."""
        writer = self._writer
        assert writer is not None  # noqa: S101 # for the type checker: the head comes first
        self._end(writer.end(), closes=writer.closes)

    def break_off(self) -> None:
        """Break the connection behind what has come, so that the response begun cannot look complete."""
        self.flush()
        self.cut(hard=self._writer is not None and not self._writer.delimited)

    def count_response(self, status: int) -> None:
        """Count a response by the class of its status code."""
        self.shared.responses[status // 100] += 1

    def answered(self, *, closes: bool) -> None:
        """The response is complete; go on to the next request, or close."""
        raise NotImplementedError

    # What the protocol asks

    def _is_stream(self) -> bool:
        """Whether a response of no declared length has begun."""
        return self._writer is not None and not self._writer.has_length

    def _is_event_stream(self) -> bool:
        """Whether the response to a GET is a stream of events, which would never end by itself."""
        head = self._head
        return self._writer is not None and self._writer.event_stream and head is not None and head.method == "GET"

    def _end_event_stream(self) -> None:
        """End a stream that would never end by itself; where its framing allows, as a complete response."""
        served, writer = self._served, self._writer
        assert served is not None and writer is not None  # noqa: S101, PT018 # for the type checker
        try:
            last = writer.end()
        except RuntimeError:
            served.lose_client()
            self.break_off()
        else:
            served.end_stream()
            self._end(last, closes=True)

    def _end(self, last: bytes, *, closes: bool) -> None:
        data = self._unsent + last
        # The upstream connection serves other requests from now on, and must not be held back for this client.
        self._line = None
        self._writer = None
        self._unsent = b""
        if data:
            self.transport.write(data)
        self.answered(closes=closes)

    def _write_head(self, head: ForwardedHead, *, closes: bool) -> ResponseWriter:
        request = self._head
        assert request is not None  # noqa: S101 # for the type checker: a request is being served
        return ResponseWriter(
            request.method, request.version, head.status, head.reason, head.headers, closes=closes, framing=head.framing
        )

    def _closes_after(self) -> bool:
        """Whether the connection closes after the response that begins now."""
        head = self._head
        if head is None or not head.keep_alive or self._body is not None:
            return True
        # When stopping, nothing but a request that is here already is served after this one.
        return self.shared.draining and b"\r\n\r\n" not in self._buffer
