"""How an answer is written to an HTTP/1.x client (RFC 9112): status line, framing, persistence; without any I/O."""

from __future__ import annotations

import http
from typing import Final

from sidecar.http.framing import LAST_CHUNK, Framing, encode_chunk, read_framing
from sidecar.http.headers import encode_fields
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
