"""A head that a client repeats on one connection, with nothing changed but its target or its `Content-Length`.

What follows from a head follows again from the same bytes: such a head is read, weighed and written for the upstream
once, and then only recognised.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.http.server.request_head import ORIGIN_FORM, HeaderSection, RequestHead, parse_head

_LENGTH_FIELD: Final = re.compile(rb"\r\nContent-Length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_MOST_DIGITS: Final = 18


class RequestTemplate:
    """What the next heads on a connection are compared with: `head`, a good one, and its bytes around its length."""

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self._before, self._after = _around_length(head.raw) if head.length else (head.raw, b"")
        self._written_before = self._written_after = b""

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

    def recognise(self, data: bytes) -> tuple[bytes, int, int] | None:
        """Give what `match` gives, with the head as it is written for the upstream in place of the digits.

        `head` has been written for the upstream.
        """
        found = self.match(data)
        return None if found is None else (self._write(found[0]), found[1], found[2])

    def parse_next(self, raw: bytes) -> RequestHead:
        """Read a whole head as `parse_head` does, by comparing it with this one. Raises BadRequest."""
        last = self.head
        if raw == last.raw:
            return last
        before, behind = last.around_target
        end = len(raw) - len(behind)
        if raw.startswith(before) and raw.endswith(behind) and ORIGIN_FORM.fullmatch(raw, len(before), end):
            head = _alike(last, raw, raw[len(before) : end], last.section, last.around_target)
            head.length = last.length
            head.upstream_fields = last.upstream_fields
            return head
        found = self.match(raw)
        # Whether there is a body decides about more than its length.
        if found is not None and found[2] > found[1]:
            return self._with_length(raw, found[0])
        return parse_head(raw)

    def _write(self, digits: bytes) -> bytes:
        if not self._written_before:
            written = self.head.upstream_head
            assert written is not None  # noqa: S101 # for the type checker
            self._written_before, self._written_after = _around_length(written)
        return self._written_before + digits + self._written_after

    def _with_length(self, raw: bytes, digits: bytes) -> RequestHead:
        last = self.head
        section = HeaderSection(
            [(name, digits if name.lower() == b"content-length" else value) for name, value in last.section.raw]
        )
        before = last.around_target[0]
        head = _alike(last, raw, last.target, section, (before, raw[len(before) + len(last.target) :]))
        head.length = int(digits)
        # No classification depends on the length: a body that is too long is refused when it is read.
        head.classified, head.classification = last.classified, last.classification
        if last.upstream_head is not None:
            head.upstream_head = self._write(digits)
        return head


def _around_length(head: bytes) -> tuple[bytes, bytes]:
    """Give what stands in a head before and behind the digits of its declared length, which it has."""
    length = _LENGTH_FIELD.search(head)
    assert length is not None  # noqa: S101 # for the type checker
    return head[: length.start(1)], head[length.end(1) :]


def _alike(
    last: RequestHead, raw: bytes, target: bytes, section: HeaderSection, around_target: tuple[bytes, bytes]
) -> RequestHead:
    head = RequestHead(raw, last.method, target, last.version, section, around_target=around_target)
    head.chunked, head.has_body = last.chunked, last.has_body
    head.keep_alive, head.expects_continue, head.upgrade = last.keep_alive, last.expects_continue, last.upgrade
    return head
