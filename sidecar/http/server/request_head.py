"""The head of an HTTP/1.x request (RFC 9112), cut out of the bytes and read, without any I/O.

Nothing behind it is looked at, so what is wrong with a later request can neither overtake the answer to an earlier one
nor be read as part of it. What two readers could read in two ways is refused; nothing is mended.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from sidecar.http.headers import connection_options, upgrade_options
from sidecar.http.ports import WireHead

MAX_HEAD: Final = 64 * 1024
"""Most bytes of a request line and its header fields together."""
MAX_FIELDS: Final = 100
MAX_EMPTY_LINES: Final = 16
"""Most empty lines before a request line."""

TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_REQUEST_LINE: Final = re.compile(
    rb"("
    + TOKEN
    + rb"++) (\*|/[\x21-\x7e]*+|[Hh][Tt][Tt][Pp][Ss]?://[^\0- /?#\x7f-\xff][\x21-\x7e]*+) HTTP/1\.([01])\r\n"
)
ORIGIN_FORM: Final = re.compile(rb"/[\x21-\x7e]*+")
# In any case of letters, since some servers read methods so; with every form of target.
_CONNECT: Final = re.compile(rb"(?i:CONNECT) [\x21-\x7e]++ HTTP/1\.[01]\r\n")
# The lookbehind pins a field to the start of its line, and neither part can cross the end of one: as many fields as
# lines means that every line is a field from end to end. A folded line is none, for it starts with white space.
_FIELD: Final = re.compile(rb"(?<=\n)(" + TOKEN + rb"++):[ \t]*+([^\x00-\x08\n-\x1f\x7f]*+)\r\n")
FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n){1,%d}" % MAX_EMPTY_LINES)
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(?::[0-9]{0,5})?")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")


class BadRequest(Exception):
    """The bytes are no request that may be served; `status` is the answer they get."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class HeaderSection:
    """The header fields of a head: as they came, with their names in lower case, and the last of each name."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw
        self.lower = [(name.lower(), value) for name, value in raw]
        self.last = dict(self.lower)

    def with_length(self, digits: bytes) -> HeaderSection:
        """Give the same fields with another `Content-Length`."""
        return HeaderSection(
            [(name, digits if name.lower() == b"content-length" else value) for name, value in self.raw]
        )


class RequestHead(WireHead):
    """A request line and header fields that can be read in one way only.

    `raw` are its bytes, and `version` is `1.0` or `1.1`. `headers` has the names in lower case, `raw_headers` as they
    came, `fields` the last value for each name in lower case. `length` is the declared length of the body in bytes: 0
    for none, and for chunks. `target_start` is the offset of the target in `raw`.

    One object may stand for several requests of a connection that begin alike, and heads that differ in their targets
    alone share their `section`: nothing of it is ever changed but what is kept of what follows from it.
    """

    length = 0
    keep_alive = True
    expects_continue = False

    def __init__(
        self,
        raw: bytes,
        method: str,
        target: bytes,
        version: str,
        section: HeaderSection,
        *,
        target_start: int,
    ) -> None:
        self.raw = raw
        self.method = method
        self.target = target
        self.version = version
        self.raw_headers = section.raw
        self.headers = section.lower
        self.fields = section.last
        self.has_host = b"host" in section.last
        self.section = section
        self.target_start = target_start

    def with_target(self, raw: bytes, target: bytes) -> RequestHead:
        """Give the head that `raw` is, which differs from this one in its target alone."""
        head = self._alike(raw, target, self.section)
        head.length = self.length
        head.upstream_fields = self.upstream_fields
        return head

    def with_length(self, raw: bytes, digits: bytes, length: int) -> RequestHead:
        """Give the head that `raw` is, which differs from this one in the declared length of its body alone.

        No classification depends on the length: a body that is too long is refused when it is read.
        """
        head = self._alike(raw, self.target, self.section.with_length(digits))
        head.length = length
        head.classified, head.classification, head.way = self.classified, self.classification, self.way
        return head

    def _alike(self, raw: bytes, target: bytes, section: HeaderSection) -> RequestHead:
        head = RequestHead(raw, self.method, target, self.version, section, target_start=self.target_start)
        head.chunked, head.has_body = self.chunked, self.has_body
        head.keep_alive, head.expects_continue, head.upgrade = self.keep_alive, self.expects_continue, self.upgrade
        return head

    def values(self, name: bytes) -> list[bytes]:
        """Give the values of all fields of this name, in their order."""
        if name not in self.fields:
            return []
        if len(self.fields) == len(self.headers):
            return [self.fields[name]]
        return [value for each, value in self.headers if each == name]


def skip_empty_lines(buffer: bytes) -> int:
    """Give the offset of the first byte that is not part of an empty line."""
    empty = _EMPTY_LINES.match(buffer)
    return empty.end() if empty else 0


def parse_head(head: bytes) -> RequestHead:
    """Read a whole head, empty line included. Raises BadRequest."""
    start = skip_empty_lines(head)
    line = read_request_line(head, start)
    raw = _FIELD.findall(head, line.end())
    lines = head.count(b"\n", line.end()) - 1
    if len(raw) != lines or lines > MAX_FIELDS:
        raise _bad_fields(head, lines)
    if b" \r\n" in head or b"\t\r\n" in head:
        raw = [(name, value.rstrip(b" \t")) for name, value in raw]
    version = "1.1" if line[3] == b"1" else "1.0"
    method, section = line[1].decode("ascii"), HeaderSection(raw)
    request = RequestHead(head, method, line[2], version, section, target_start=line.start(2))
    _check_host(request)
    _read_body_framing(request)
    _read_connection(request)
    return request


def read_request_line(head: bytes, start: int) -> re.Match[bytes]:
    """Give method, target and minor version of a request line. Raises BadRequest."""
    # After CONNECT many servers take the bytes behind the head for a tunnel or for further requests, with any
    # Content-Length says (RFC 9110, section 9.3.6), so none is forwarded.
    if _CONNECT.match(head, start):
        raise BadRequest(405, "CONNECT is not supported")
    line = _REQUEST_LINE.match(head, start)
    if line is None or (line[2] == b"*" and line[1] != b"OPTIONS"):
        raise BadRequest(400, "malformed request line")
    return line


def _bad_fields(head: bytes, lines: int) -> BadRequest:
    """Name what is wrong in the order in which the beginning of a head is checked, however it was cut in pieces."""
    if FORBIDDEN.search(head):
        return BadRequest(400, "control character or bare line feed in the head")
    if lines > MAX_FIELDS:
        return BadRequest(431, "more than 100 header fields")
    return BadRequest(400, "malformed header field")


def _check_host(request: RequestHead) -> None:
    hosts = request.values(b"host")
    if len(hosts) > 1 or (not hosts and request.version == "1.1"):
        raise BadRequest(400, "exactly one Host field is needed")
    if hosts and not _is_host(hosts[0]):
        raise BadRequest(400, "malformed Host field")


def _read_body_framing(request: RequestHead) -> None:
    fields = request.fields
    if b"transfer-encoding" in fields:
        if b"content-length" in fields:
            raise BadRequest(400, "both Content-Length and Transfer-Encoding")
        if request.version == "1.0" or [value.lower() for value in request.values(b"transfer-encoding")] != [
            b"chunked"
        ]:
            raise BadRequest(400, "a transfer coding other than chunked, or one in HTTP/1.0")
        request.chunked = request.has_body = True
    elif b"content-length" in fields:
        lengths = request.values(b"content-length")
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise BadRequest(400, "malformed Content-Length")
        request.length = int(lengths[0])
        request.has_body = request.length > 0


def _read_connection(request: RequestHead) -> None:
    """Note what is asked of the connection; before HTTP/1.1 nothing can be."""
    if request.version == "1.0":
        request.keep_alive = False
        return
    fields = request.fields
    if b"connection" in fields:
        options = connection_options(request.values(b"connection"))
        request.keep_alive = b"close" not in options
        if b"upgrade" in options and b"upgrade" in fields:
            asked = [option for value in request.values(b"upgrade") for option in upgrade_options(value)]
            request.upgrade = bool(asked) and request.method == "GET" and not request.has_body
    if b"expect" in fields and request.has_body:
        request.expects_continue = b"100-continue" in [value.lower() for value in request.values(b"expect")]


@functools.lru_cache(maxsize=1024)
def _is_host(value: bytes) -> bool:
    return bool(_HOST.fullmatch(value))
