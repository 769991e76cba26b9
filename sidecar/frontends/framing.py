"""The head of an HTTP/1.x request (RFC 9112), cut out of the bytes and read, without any I/O.

Nothing behind it is looked at, so what is wrong with a later request can neither overtake the answer to an earlier one
nor be read as part of it. What two readers could read in two ways is refused; nothing is mended.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sidecar.core.headers import connection_options, upgrade_options

MAX_HEAD: Final = 64 * 1024
"""Most bytes of a request line and its header fields together."""
MAX_FIELDS: Final = 100

TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb"++) ([\x21-\x7e]++) HTTP/1\.([01])\r\n")
# The lookbehind pins a field to the start of its line, and neither part can cross the end of one: as many fields as
# lines means that every line is a field from end to end. A folded line is none, for it starts with white space.
_FIELD: Final = re.compile(rb"(?<=\n)(" + TOKEN + rb"++):[ \t]*+([^\x00-\x08\n-\x1f\x7f]*+)\r\n")
FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(?::[0-9]{0,5})?")
_TARGET: Final = re.compile(rb"/|https?://[^/?#]", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
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
    if FORBIDDEN.search(buffer):
        raise BadRequest(400, "control character or bare line feed in the head")
    if len(buffer) >= MAX_HEAD:
        raise BadRequest(431, "the header fields are larger than 64 KiB")


def _bad_fields(head: bytes, lines: int) -> BadRequest:
    """Name what is wrong in the order in which the beginning of a head is checked, however it was cut in pieces."""
    if FORBIDDEN.search(head):
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
