"""Where the body of an HTTP/1.x request ends (RFC 9112, section 6), without any I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from sidecar.http.server.request_head import FORBIDDEN, TOKEN, BadRequest

MAX_TRAILER: Final = 8 * 1024
"""Most bytes around the data of a chunked body in one place: one chunk's size line, or all trailers."""

# Only single characters are repeated possessively: for groups, Python before 3.11.5 matches what it must not
# (gh-106052). Where one repetition of a group ends is never in doubt here, so nothing is tried twice.
_QUOTED: Final = rb'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_EXTENSION: Final = rb";" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))?"
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*\r\n")
_CHUNK_SO_FAR: Final = re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[\t -~]*+)?\r?")
_TRAILER: Final = re.compile(rb"(?:" + TOKEN + rb"++:[^\x00-\x08\n-\x1f\x7f]*+\r\n)*\r\n")


class LengthBody:
    """A body of declared length."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def complete(self) -> bool:
        """Whether all of it has been taken."""
        return not self._left

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Part `data` into what belongs to the body and what comes after it."""
        piece = data[: self._left]
        self._left -= len(piece)
        return piece, data[len(piece) :]


_Step: TypeAlias = Callable[[bytes, int, list[bytes]], int]


class ChunkedBody:
    """A chunked body (RFC 9112, section 7.1). Chunk extensions and trailers are checked and dropped."""

    def __init__(self) -> None:
        self.complete = False
        self._held = b""
        self._left = 0
        self._step: _Step = self._size_line

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Part `data` into decoded bytes of the body and what comes after it. Raises BadRequest."""
        pieces: list[bytes] = []
        data = self._held + data if self._held else data
        at = 0
        while at < len(data) and not self.complete:
            after = self._step(data, at, pieces)
            if after == at:
                break
            at = after
        self._held = b"" if self.complete else data[at:]
        rest = data[at:] if self.complete else b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), rest

    # Each step gives the offset after what it has read, or the same offset while it needs more bytes.

    def _size_line(self, data: bytes, at: int, _: list[bytes]) -> int:
        line = _CHUNK.match(data, at)
        if line is None:
            if len(data) - at > MAX_TRAILER or not _CHUNK_SO_FAR.fullmatch(data, at):
                raise BadRequest(400, "malformed chunk")
            return at
        if line.end() - at > MAX_TRAILER:
            raise BadRequest(400, "oversized chunk extension")
        self._left = int(line[1], 16)
        self._step = self._data if self._left else self._trailer
        return line.end()

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at : at + self._left]
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._step = self._data_end
        return at + len(piece)

    def _data_end(self, data: bytes, at: int, _: list[bytes]) -> int:
        if data.startswith(b"\r\n", at):
            self._step = self._size_line
            return at + 2
        if data[at:] != b"\r":
            raise BadRequest(400, "malformed chunk")
        return at

    def _trailer(self, data: bytes, at: int, _: list[bytes]) -> int:
        trailer = _TRAILER.match(data, at)
        if trailer is not None and trailer.end() - at <= MAX_TRAILER:
            self.complete = True
            return trailer.end()
        end = data.find(b"\r\n\r\n", at)
        if end >= 0 or len(data) - at > MAX_TRAILER or FORBIDDEN.search(data, at):
            raise BadRequest(400, "malformed or oversized trailer")
        return at
