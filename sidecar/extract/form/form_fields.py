"""Fields of query strings and urlencoded forms: the watched ones, each with one value, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from sidecar.extract.form.field_names import LONGEST_NAME, FieldNames
from sidecar.extract.refused import ambiguous, unreadable

MOST_FIELDS: Final = 10_000
LONGEST_VALUE: Final = 64 * 1024
"""Bytes of a value that are decoded, more than any id has: to decode megabytes stops all other work for a second."""
_MOST_SPACE: Final = 4 * 1024
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]").search
_AMPERSAND = re.compile(rb"&")
_EITHER = re.compile(rb"[&;]")
_LEADING_SPACE = re.compile(rb"(?:[\x00-\x20+]|%(?:[01][0-9A-Fa-f]|20))*").match


def read_urlencoded(raw: bytes, names: FieldNames, *, strict: bool) -> Mapping[str, object]:
    """The watched fields of a query or an `application/x-www-form-urlencoded` body. Raises RequestRefused.

    Where it is `strict` every name must be well formed. Some readers take `;` for a separator as well as `&`: to
    them a watched field must look the same.
    """
    found = names.collect(_pairs(raw, _AMPERSAND, names, strict=strict))
    if b";" in raw and names.collect(_pairs(raw, _EITHER, names, strict=False)) != found:
        ambiguous("Fields are separated by ;, which some readers take for a part of the value.")
    return found


def _pairs(raw: bytes, separator: re.Pattern[bytes], names: FieldNames, *, strict: bool) -> Iterator[tuple[str, str]]:
    """Name and value of every field (WHATWG URL, section 5.1) but those whose names are too long to be watched."""
    pieces = separator.split(raw, maxsplit=MOST_FIELDS)
    if len(pieces) > MOST_FIELDS:
        unreadable(f"There are more than {MOST_FIELDS} fields.")
    for piece in pieces:
        raw_name, _, value = piece.partition(b"=")
        if len(raw_name) > LONGEST_NAME:
            beginning = _beginning(raw_name)
            if beginning is None or names.may_begin(beginning):
                ambiguous("A long field name begins like a session or user id, and some readers cut it there.")
            continue
        name = _decoded(raw_name)
        if strict and (_BAD_PERCENT(raw_name) or _CONTROLS(name)):
            unreadable("The name of a field cannot be read.")
        yield name, _decoded(value[:LONGEST_VALUE]) if names.reads_value(name) else ""


def _beginning(raw_name: bytes) -> str | None:
    """The first part of a long name, without the space before it, which some readers trim; None behind too much."""
    space = _LEADING_SPACE(raw_name, 0, _MOST_SPACE)
    start = space.end() if space else 0
    if start > _MOST_SPACE - len("%20"):  # whose last escape may have been cut
        return None
    return _decoded(raw_name[start : start + LONGEST_NAME])


def _decoded(raw: bytes) -> str:
    """Bytes that are not UTF-8 become U+FFFD, which no name and no id contains."""
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")
