"""Where an HTTP/1.1 request begins, what its head says and where its body ends (RFC 9112), without any I/O.

One message is cut out of the bytes at a time and nothing behind it is looked at, so what is wrong with a later request
can neither overtake the answer to an earlier one nor be read as part of it. What two readers could read in two ways
is refused; nothing is mended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from sidecar.core.headers import connection_options, upgrade_options

MAX_HEAD: Final = 64 * 1024
"""Most bytes of a request line and its header fields together."""
MAX_FIELDS: Final = 100
MAX_TRAILER: Final = 8 * 1024
"""Most bytes around the data of a chunked body in one place: one chunk's size line, or all trailers."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb"++) ([\x21-\x7e]++) HTTP/1\.([01])\r\n")
# The lookbehind pins a field to the start of its line, and neither part can cross the end of one: as many fields as
# lines means that every line is a field from end to end. A folded line is none, for it starts with white space.
_FIELD: Final = re.compile(rb"(?<=\n)(" + _TOKEN + rb"++):[ \t]*+([^\x00-\x08\n-\x1f\x7f]*+)\r\n")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(?::[0-9]{0,5})?")
_TARGET: Final = re.compile(rb"/|https?://[^/?#]", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\n-\x1f\x7f]*+)?\r\n")
_CHUNK_SO_FAR: Final = re.compile(rb"[0-9A-Fa-f]{1,15}(?:\r|[ \t]*+(?:;[^\x00-\x08\n-\x1f\x7f]*+\r?)?)")
_TRAILER: Final = re.compile(rb"(?:" + _TOKEN + rb"++:[^\x00-\x08\n-\x1f\x7f]*+\r\n)*+\r\n")
_FRAMING: Final = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"expect"})


class BadRequest(Exception):
    """The bytes are no request that may be served; `status` is the answer they get."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(slots=True)
class RequestHead:
    """A request line and header fields that can be read in one way only.

    `headers` has the names in lower case, `raw_headers` as they came; `length` is the declared length of the body, in
    bytes, and 0 where there is none or the body is chunked.
    """

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    raw_headers: list[tuple[bytes, bytes]]
    length: int = 0
    chunked: bool = False
    keep_alive: bool = True
    expects_continue: bool = False
    upgrade: bool = False
    host: bytes | None = None

    @property
    def has_body(self) -> bool:
        """Whether any byte of a body is to come, if only the end of a chunked one."""
        return self.chunked or self.length > 0


def find_head(buffer: bytes | bytearray) -> int:
    """Give the length of the head at the start of `buffer`, or 0 while its end has not come.

    Empty lines before the request line belong to the head (RFC 9112, section 2.2). Raises BadRequest as soon as the
    bytes cannot become a good head, so that nobody waits for the end of a bad one.
    """
    start = skip_empty_lines(buffer)
    end = buffer.find(b"\r\n\r\n", start)
    if end < 0:
        _check_beginning(buffer, start)
        return 0
    end += 4
    if end > MAX_HEAD:
        raise BadRequest(431, "the header fields are larger than 64 KiB")
    return end


def skip_empty_lines(buffer: bytes | bytearray) -> int:
    """Give the offset of the first byte that is not part of an empty line."""
    start = 0
    while buffer.startswith(b"\r\n", start):
        start += 2
    return start


def parse_head(head: bytes) -> RequestHead:
    """Read a whole head, empty line included. Raises BadRequest."""
    start = skip_empty_lines(head)
    line = _request_line(head, start)
    raw = _FIELD.findall(head, line.end())
    lines = head.count(b"\n", line.end()) - 1
    if len(raw) != lines or lines > MAX_FIELDS:
        raise _bad_fields(head, lines)
    if b" \r\n" in head or b"\t\r\n" in head:
        raw = [(name, value.rstrip(b" \t")) for name, value in raw]
    headers = [(name.lower(), value) for name, value in raw]
    version = "1.1" if line[3] == b"1" else "1.0"
    request = RequestHead(line[1].decode("ascii"), line[2], version, headers, raw)
    _read_framing(request)
    return request


def _request_line(head: bytes | bytearray, start: int) -> re.Match[bytes]:
    line = _REQUEST_LINE.match(head, start)
    if line is None:
        raise BadRequest(400, "malformed request line")
    if line[1] == b"CONNECT":
        raise BadRequest(405, "CONNECT is not supported")
    if not _TARGET.match(line[2]) and not (line[2] == b"*" and line[1] == b"OPTIONS"):
        raise BadRequest(400, "malformed request target")
    return line


def _check_beginning(buffer: bytes | bytearray, start: int) -> None:
    if buffer.find(b"\r\n", start) >= 0:
        _request_line(buffer, start)
    if _FORBIDDEN.search(buffer):
        raise BadRequest(400, "control character or bare line feed in the head")
    if len(buffer) >= MAX_HEAD:
        raise BadRequest(431, "the header fields are larger than 64 KiB")


def _bad_fields(head: bytes, lines: int) -> BadRequest:
    """Name what is wrong in the order in which the beginning of a head is checked, however it was cut in pieces."""
    if _FORBIDDEN.search(head):
        return BadRequest(400, "control character or bare line feed in the head")
    if lines > MAX_FIELDS:
        return BadRequest(431, "more than 100 header fields")
    return BadRequest(400, "malformed header field")


def _read_framing(request: RequestHead) -> None:
    """Fill in what the header fields say of the message itself, and refuse what can be read two ways."""
    said: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        if name in _FRAMING:
            said.setdefault(name, []).append(value)
    _read_host(request, said.get(b"host", []))
    if b"transfer-encoding" in said or b"content-length" in said:
        _read_length(request, said.get(b"transfer-encoding", []), said.get(b"content-length", []))
    options = connection_options(said[b"connection"]) if b"connection" in said else frozenset()
    request.keep_alive = request.version == "1.1" and b"close" not in options
    if request.version == "1.0":
        return
    request.expects_continue = request.has_body and any(
        value.lower() == b"100-continue" for value in said.get(b"expect", [])
    )
    if b"upgrade" in said and b"upgrade" in options:
        asked = [option for value in said[b"upgrade"] for option in upgrade_options(value)]
        request.upgrade = bool(asked) and request.method == "GET" and not request.has_body


def _read_host(request: RequestHead, hosts: list[bytes]) -> None:
    if len(hosts) > 1 or (not hosts and request.version == "1.1"):
        raise BadRequest(400, "exactly one Host field is needed")
    if hosts:
        request.host = hosts[0]
        if not _HOST.fullmatch(hosts[0]):
            raise BadRequest(400, "malformed Host field")


def _read_length(request: RequestHead, codings: list[bytes], lengths: list[bytes]) -> None:
    if codings and lengths:
        raise BadRequest(400, "both Content-Length and Transfer-Encoding")
    if codings:
        if request.version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise BadRequest(400, "a transfer coding other than chunked, or one in HTTP/1.0")
        request.chunked = True
    else:
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise BadRequest(400, "malformed Content-Length")
        request.length = int(lengths[0])


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
        if end >= 0 or len(data) - at > MAX_TRAILER or _FORBIDDEN.search(data, at):
            raise BadRequest(400, "malformed or oversized trailer")
        return at
