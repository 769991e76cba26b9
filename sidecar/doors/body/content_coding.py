"""Content codings (RFC 9110, section 8.4.1), decoded for reading only: one layer, bounded output, no bytes after it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

from sidecar.extract.refused import RequestRefused
from sidecar.model import Headers, Reason, Refusal

MOST_EXPANSION: Final = 100
"""How many times its own size a body may grow to; below `HARMLESS` bytes any growth is accepted."""
HARMLESS: Final = 1 << 20

IDENTITY: Final = "identity"
"""The body is as it is."""

_ZLIB, _RAW, _GZIP = 15, -15, 31
"""What zlib calls wbits: which wrapping stands around the deflated data."""
_ZSTD_WINDOW: Final = 8 << 20
"""The largest window that HTTP allows (RFC 9659)."""
_ZSTD_STEP: Final = 128
"""Input bytes at a time: four of them can stand for 128 KiB, and zstandard cannot be told to stop in between."""


class _Broken(Exception):
    """The data is not what the coding says."""


class _TooLarge(Exception):
    """The data becomes larger than is allowed."""


def coding_of(headers: Headers) -> str:
    """The one content coding of a request, `identity` for none.

    Raises RequestRefused for a coding that is not decoded, and for several on top of each other.
    """
    values = [value for name, value in headers if name == b"content-encoding"]
    if not values:
        return IDENTITY
    parts = b",".join(values).decode("latin-1").lower().split(",")
    codings = [coding for part in parts if (coding := part.strip()) not in ("", IDENTITY)]
    if len(codings) > 1 or any(coding not in _DECODERS for coding in codings):
        allowed = ", ".join(_DECODERS)
        detail = f"The body has a content coding that cannot be read here; one of these is possible: {allowed}."
        raise RequestRefused(Refusal(Reason.UNSUPPORTED_ENCODING, detail))
    return codings[0] if codings else IDENTITY


def decode(body: bytes, coding: str, *, limit: int) -> bytes:
    """Undo a coding that `coding_of` allowed. `limit` is the largest result, in bytes.

    Raises RequestRefused where the data is broken, goes on after its end, or grows too large.
    """
    if coding == IDENTITY or not body:
        return body
    allowed = min(limit, max(HARMLESS, MOST_EXPANSION * len(body)))
    try:
        return _DECODERS[coding](body, allowed)
    except _TooLarge:
        detail = f"The body, decoded, has more than {allowed} bytes."
        raise RequestRefused(Refusal(Reason.BODY_TOO_LARGE, detail)) from None
    except (_Broken, zlib.error):
        detail = f"The body is not one complete {coding} stream."
        raise RequestRefused(Refusal(Reason.UNREADABLE_BODY, detail)) from None


def _gzip(body: bytes, allowed: int) -> bytes:
    return _inflate(body, allowed, _GZIP)


def _deflate(body: bytes, allowed: int) -> bytes:
    """By the standard this is zlib's format; some send bare deflated data, and some bytes could be read as both."""
    try:
        decoded = _inflate(body, allowed, _ZLIB)
    except (_Broken, zlib.error):
        return _inflate(body, allowed, _RAW)
    try:
        _inflate(body, allowed, _RAW)
    except (_Broken, zlib.error):
        return decoded
    raise _Broken


def _inflate(body: bytes, allowed: int, wrapping: int) -> bytes:
    decoder = zlib.decompressobj(wrapping)
    decoded = decoder.decompress(body, allowed + 1)
    if len(decoded) > allowed:
        raise _TooLarge
    if not decoder.eof or decoder.unused_data:
        raise _Broken
    return decoded


def _brotli(body: bytes, allowed: int) -> bytes:
    import brotli  # noqa: PLC0415 # most clients never use it

    try:
        return _brotli_by(brotli.Decompressor(), body, allowed)
    except brotli.error:
        raise _Broken from None


def _brotli_by(decoder: Any, body: bytes, allowed: int) -> bytes:
    decoded = decoder.process(body, output_buffer_limit=allowed + 1)
    pieces, size = [decoded], len(decoded)
    while not decoder.can_accept_more_data() and size <= allowed:
        piece = decoder.process(b"", output_buffer_limit=allowed + 1 - size)
        pieces.append(piece)
        size += len(piece)
    if size > allowed:
        raise _TooLarge
    if not decoder.is_finished():
        raise _Broken
    return b"".join(pieces)


def _zstd(body: bytes, allowed: int) -> bytes:
    import zstandard  # noqa: PLC0415 # most clients never use it

    try:
        return _zstd_by(zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj(), body, allowed)
    except zstandard.ZstdError:
        raise _Broken from None


def _zstd_by(decoder: Any, body: bytes, allowed: int) -> bytes:
    pieces, size = [], 0
    for start in range(0, len(body), _ZSTD_STEP):
        if decoder.eof:
            raise _Broken
        piece = decoder.decompress(body[start : start + _ZSTD_STEP])
        pieces.append(piece)
        size += len(piece)
        if size > allowed:
            raise _TooLarge
    if not decoder.eof or decoder.unused_data:
        raise _Broken
    return b"".join(pieces)


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
