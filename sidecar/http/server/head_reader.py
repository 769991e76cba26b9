"""Cuts request heads out of the bytes of one connection.

A head that repeats the one before, or differs from it in its target or its `Content-Length` alone, is
recognised instead of read, and keeps what follows from what it shares.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.http.server.request_head import (
    FORBIDDEN,
    MAX_HEAD,
    ORIGIN_FORM,
    BadRequest,
    RequestHead,
    parse_head,
    read_request_line,
    skip_empty_lines,
)

MAX_REMEMBERED: Final = 4 * 1024
"""Most bytes of a head that a connection remembers, so that idle connections hold little."""

_LENGTH_FIELD: Final = re.compile(rb"\r\nContent-Length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_MOST_DIGITS: Final = 18


class HeadReader:
    """Reads the heads of one connection. It remembers the last.

    Of a head with a body it remembers also what stands around the declared length, in the head as it came and as it is
    written to the upstream.
    """

    def __init__(self) -> None:
        self._last: RequestHead | None = None
        self._before = self._behind = b""
        self._written_before = self._written_behind = b""

    def read(self, buffer: bytes, seen: int = 0) -> RequestHead | None:
        """Give the head at the start of `buffer`; None while its end has not come. Raises BadRequest.

        The first `seen` bytes were there before and no head.
        """
        last = self._last
        if last is not None:
            if buffer.startswith(last.raw):
                return last
            if last.length and (head := self._with_length(last, buffer)) is not None:
                self._last = head
                return head
        end = find_head(buffer, seen)
        if not end:
            return None
        raw = buffer[:end]
        head = None if last is None else _with_target(last, raw)
        if head is None:
            head = parse_head(raw)
        self._remember(head)
        return head

    def _remember(self, head: RequestHead) -> None:
        self._last = head if len(head.raw) <= MAX_REMEMBERED else None
        self._written_before = b""
        if head.length:
            self._before, self._behind = _around_length(head.raw)

    def _with_length(self, last: RequestHead, buffer: bytes) -> RequestHead | None:
        """Give the head at the start of `buffer`, if it declares another length than the last and is else the same."""
        start = len(self._before)
        if not buffer.startswith(self._before):
            return None
        length, end, most = 0, start, min(len(buffer), start + _MOST_DIGITS)
        while end < most and 48 <= buffer[end] <= 57:
            length = 10 * length + buffer[end] - 48
            end += 1
        body = end + len(self._behind)
        # Whether there is a body decides about more than its length.
        if not length or buffer[end:body] != self._behind:
            return None
        digits = buffer[start:end]
        head = last.with_length(buffer[:body], digits, length)
        if last.upstream_head is not None:
            if not self._written_before:
                self._written_before, self._written_behind = _around_length(last.upstream_head)
            head.upstream_head = self._written_before + digits + self._written_behind
        return head


def _with_target(last: RequestHead, raw: bytes) -> RequestHead | None:
    """Give the head that `raw` is, if it has another target than the last and is else the same."""
    start = last.target_start
    behind = last.raw[start + len(last.target) :]
    end = len(raw) - len(behind)
    if raw.startswith(last.raw[:start]) and raw.endswith(behind) and ORIGIN_FORM.fullmatch(raw, start, end):
        return last.with_target(raw, raw[start:end])
    return None


def _around_length(head: bytes) -> tuple[bytes, bytes]:
    """Give what stands in a head before and behind the digits of its declared length, which it has."""
    length = _LENGTH_FIELD.search(head)
    assert length is not None  # noqa: S101 # for the type checker
    return head[: length.start(1)], head[length.end(1) :]


def find_head(buffer: bytes, seen: int = 0) -> int:
    """Give the length of the head at the start of `buffer`, or 0 while its end has not come.

    The first `seen` bytes were there before and no head: they are not looked through again, so that a head that comes
    byte by byte costs no more than another. Empty lines before the request line, a few, belong to the head (RFC 9112,
    section 2.2). Raises BadRequest as soon as the bytes cannot become a good head, so that the server does not wait for
    the end of a bad one.
    """
    start = skip_empty_lines(buffer) if buffer.startswith(b"\r\n") else 0
    end = buffer.find(b"\r\n\r\n", max(start, seen - 3))
    if end < 0:
        _check_beginning(buffer, start, seen)
        return 0
    end += 4
    if end > MAX_HEAD:
        raise BadRequest(431, "the header fields are larger than 64 KiB")
    return end


def _check_beginning(buffer: bytes, start: int, seen: int) -> None:
    line_end = buffer.find(b"\r\n", start)
    if line_end >= 0 and line_end + 2 > seen:
        read_request_line(buffer, start)
    # What was the last byte may be the first of a line's end.
    if FORBIDDEN.search(buffer, max(seen - 1, 0)):
        raise BadRequest(400, "control character or bare line feed in the head")
    if len(buffer) >= MAX_HEAD:
        raise BadRequest(431, "the header fields are larger than 64 KiB")
