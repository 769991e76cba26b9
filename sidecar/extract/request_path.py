"""One reading of a request target: its path as the upstream will decode it, or that it can be read two ways.

Servers differ in how often they decode a path, whether they fold slashes, resolve dot segments or cut parameters.
`read_path` gives segments only where none of that can matter; for all other paths `possible_readings` lists what some
server may make of them, so that a path that might reach a guarded route is never taken for one that does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from sidecar.profile.templates import Segments

MOST_DECODINGS: Final = 3
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\\]*").match
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:").match
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~:@|+=,!$&'()*-][A-Za-z0-9._~:@|+=,!$&'()*-]*)+/?").fullmatch
_RAW = re.compile(rb"/(?:[!-~]|%[0-9A-Fa-f]{2})*").fullmatch
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_TWO_WAYS = re.compile(r"[\x00-\x1f\x7f/\\;?#]|%[0-9A-Fa-f]{2}").search
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def without_origin(target: bytes) -> bytes:
    """A target, its query cut off, as a path: of the absolute form (RFC 9112, section 3.2.2) the origin is dropped.

    A target in neither origin nor absolute form is a path that `read_path` finds no single reading for.
    """
    if target.startswith(b"/"):
        return target
    absolute = _ABSOLUTE(target)
    return target[absolute.end() :] or b"/" if absolute else target


def read_path(path: bytes) -> Segments | None:
    """The decoded segments of a path, without a trailing slash, or None where it can be read in more than one way.

    Two ways lead through encoded slashes, dot segments, empty segments, backslashes, path parameters, an encoded `?`
    or `#`, a fragment, control characters, percent signs that are not escapes or decode to one, and bytes that are
    not UTF-8.
    """
    if _PLAIN(path):
        return tuple(path.decode("ascii").strip("/").split("/"))
    if path == b"/":
        return ()
    if not _RAW(path) or _BAD_PERCENT(path):
        return None
    parts = path[1:].split(b"/")
    if parts[-1] == b"":
        parts.pop()
    try:
        segments = tuple(unquote_to_bytes(part).decode("utf-8") for part in parts)
    except UnicodeDecodeError:
        return None
    if any(segment in ("", ".", "..") or _TWO_WAYS(segment) for segment in segments):
        return None
    return segments


def is_under(segments: Segments, prefix: Segments) -> bool:
    """Whether a path lies at or below a prefix given in folded case; letter case makes no difference."""
    return tuple(segment.casefold() for segment in segments[: len(prefix)]) == prefix


def possible_readings(path: bytes) -> Iterator[Segments]:
    """What lenient servers may make of a path that has no single reading; segments may repeat among the results."""
    scheme = _SCHEME(path)
    raw = path[scheme.end() :] if scheme else path
    for _ in range(MOST_DECODINGS):
        decoded = unquote_to_bytes(raw)
        text = decoded.decode("latin-1").replace("\\", "/")
        for candidate in {text, re.split(r"[?#]", text)[0]}:
            yield from _slash_readings(_CONTROLS.sub("", candidate))
        if decoded == raw:
            return
        raw = decoded


def _slash_readings(text: str) -> Iterator[Segments]:
    """Dots kept, dropped and resolved, before or after empty segments are folded; `//host` a path and an authority."""
    written = tuple(segment.partition(";")[0] for segment in text.removeprefix("/").split("/"))
    for segments in (written, written[2:]) if text.startswith("//") else (written,):
        folded = _without(segments, "")
        yield folded
        if "." in segments or ".." in segments:
            yield _without(folded, ".")
            yield _resolved(folded)
            yield _without(_resolved(segments), "")


def _without(segments: Segments, unwanted: str) -> Segments:
    return tuple(segment for segment in segments if segment != unwanted)


def _resolved(segments: Segments) -> Segments:
    """Dot segments removed as RFC 3986, section 5.2.4 has it."""
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return tuple(kept)
