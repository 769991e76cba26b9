"""What the header fields of an answer say of its body and of its connection (RFC 9112, sections 6 and 9.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sidecar.http.headers import connection_options
from sidecar.model import Headers

_TELLING: Final = frozenset({b"content-length", b"content-type", b"transfer-encoding", b"connection"})
_REMEMBERED_NAMES: Final = 4096
_names: dict[bytes, bytes] = {}
"""Field names as servers spell them: the name in lower case for a field that frames the response, else empty."""


LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked body without trailers (RFC 9112, section 7.1)."""


def encode_chunk(data: bytes, *, last: bool = False) -> bytes:
    """Write a piece of a chunked body, and its end behind the last piece; of an empty piece nothing but that.

    A chunk of size 0 would end the body.
    """
    chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return chunk + LAST_CHUNK if last else chunk


@dataclass(slots=True)
class Framing:
    """What the fields say.

    `length` is the declared length of the body in bytes; `odd_coding` means a transfer coding other than chunked;
    `names_connection` that there is a `Connection` field, and `close` that it says so.
    """

    length: int | None = None
    chunked: bool = False
    odd_coding: bool = False
    names_connection: bool = False
    close: bool = False
    event_stream: bool = False


@dataclass(slots=True)
class ResponseHead:
    """Status line and header fields of an answer as the upstream sent them, names in its case.

    `until_close` is true where only the end of the connection ends the body.
    """

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    framing: Framing
    until_close: bool = False


@dataclass(slots=True, eq=False)
class ForwardedHead:
    """The head of an answer as clients may see it; `framing` is what its fields say.

    Without a `reason` the usual phrase is written. `written` belongs to the component that writes the head, by whether
    the connection closes after it: many answers begin alike, and one object stands for all of them.
    """

    status: int
    reason: bytes | None
    headers: Headers
    framing: Framing
    written: dict[bool, bytes] = field(default_factory=dict)


def read_framing(headers: Headers) -> Framing:
    """Read the fields of an answer. Raises ValueError for a length that is no number."""
    framing = Framing()
    for name, value in headers:
        known = _names.get(name)
        if known == b"":
            continue
        known = known or _learn(name)
        if known == b"content-length":
            framing.length = int(value)
        elif known == b"content-type":
            framing.event_stream = value[:17].lower() == b"text/event-stream"
        elif known == b"transfer-encoding":
            framing.chunked = value.lower() == b"chunked"
            framing.odd_coding = framing.odd_coding or not framing.chunked
        elif known == b"connection":
            framing.names_connection = True
            framing.close = framing.close or b"close" in connection_options([value])
    return framing


def _learn(name: bytes) -> bytes:
    lower = name.lower()
    known = lower if lower in _TELLING else b""
    if len(_names) < _REMEMBERED_NAMES:
        _names[name] = known
    return known
