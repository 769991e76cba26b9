"""What the header fields of an answer say of its body and of its connection (RFC 9112, sections 6 and 9.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidecar.core.headers import connection_options
from sidecar.core.model import Headers

_LONGEST_NAME: Final = len(b"transfer-encoding")


@dataclass(slots=True)
class Framing:
    """What was said.

    `length` is the declared length of the body in bytes; `odd_coding` means a transfer coding other than chunked;
    `names_connection` that there is a `Connection` field, and `close` that it says so.
    """

    length: int | None = None
    chunked: bool = False
    odd_coding: bool = False
    names_connection: bool = False
    close: bool = False
    event_stream: bool = False


def read_framing(headers: Headers) -> Framing:
    """Read the fields of an answer. Raises ValueError for a length that is no number."""
    framing = Framing()
    for name, value in headers:
        if len(name) > _LONGEST_NAME:
            continue
        lower = name.lower()
        if lower == b"content-length":
            framing.length = int(value)
        elif lower == b"content-type":
            framing.event_stream = value[:17].lower() == b"text/event-stream"
        elif lower == b"transfer-encoding":
            framing.chunked = value.lower() == b"chunked"
            framing.odd_coding = framing.odd_coding or not framing.chunked
        elif lower == b"connection":
            framing.names_connection = True
            framing.close = framing.close or b"close" in connection_options([value])
    return framing
