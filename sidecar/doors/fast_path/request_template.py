"""A head that a client keeps sending on one connection, with nothing changed but its `Content-Length`.

What follows from a head alone follows again from the same bytes: such a head is read, weighed and written for the
upstream once, and then only recognised.
"""

from __future__ import annotations

from typing import Final

from sidecar.http.ports import WireHead
from sidecar.http.server.request_head import RequestHead, around_length
from sidecar.model import Headers

_MOST_DIGITS: Final = 18


class RequestTemplate(WireHead):
    """A good head of a request, seen on the connection of `peer`.

    `classification` is what the extractor made of it. `written_before` and
    `written_after` are how the head is written for the upstream, around the digits of its length; without a
    declared length `written_before` is all of it.
    """

    def __init__(self, head: RequestHead, peer: str | None) -> None:
        self.head = head
        self.method = head.method
        self.target = head.target
        self.version = head.version
        self.headers: Headers = head.raw_headers
        self.memo = head.memo
        self.classification = head.memo.classification
        self.peer = peer
        self.has_host = True
        self.upgrade = False
        self.has_body = head.has_body
        self.chunked = head.chunked
        self._has_length = head.length > 0
        self._before, self._after = around_length(head.raw) if self._has_length else (head.raw, b"")
        self.written_before, self.written_after = b"", b""

    def write_as(self, head: bytes) -> None:
        """Note how the head is written for the upstream."""
        self.written_before, self.written_after = around_length(head) if self._has_length else (head, b"")

    def match(self, data: bytes) -> tuple[bytes, int, int] | None:
        """Give the digits of the length and the offsets of the body's begin and end, if `data` begins with this head.

        The body may still be coming.
        """
        start = len(self._before)
        if not data.startswith(self._before):
            return None
        length, end, most = 0, start, min(len(data), start + _MOST_DIGITS)
        while end < most and 48 <= data[end] <= 57:
            length = 10 * length + data[end] - 48
            end += 1
        body = end + len(self._after)
        if end == start or data[end:body] != self._after:
            return None
        return data[start:end], body, body + length

    def written_as(self, digits: bytes) -> bytes:
        """Give the head as it is written for the upstream, with these digits for the length."""
        return self.written_before + digits + self.written_after
