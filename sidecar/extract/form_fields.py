"""Fields of query strings and urlencoded forms: the watched ones, each with one value, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from sidecar.extract.refused import ambiguous, unreadable
from sidecar.extract.strict_json import fold

MOST_FIELDS: Final = 10_000
_SLACK: Final = 64
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]").search
_AMPERSAND = re.compile(rb"&")
_EITHER = re.compile(rb"[&;]")
_NESTING = re.compile(r"[\[\]. \t]+")


class FieldNames:
    """The field names to watch, and the spellings that some readers take for one of them."""

    def __init__(self, names: Iterable[str], json_paths: Iterable[tuple[str, ...]] = ()) -> None:
        self._names = frozenset(names)
        alike = [*((fold(name),) for name in self._names), *(tuple(map(fold, path)) for path in json_paths)]
        self._alike = frozenset(alike)
        self._deepest = max(map(len, alike), default=0)
        # Every character may be an escape of three, and look-alikes have a few characters more.
        self.longest = _SLACK + 3 * max((len(".".join(path)) for path in alike), default=0)

    def is_watched(self, name: str) -> bool:
        """Whether this is a watched name. A look-alike is refused: `a[b]`, `a.b` and `a[]` are inside `a` to some.

        Raises Refusal.
        """
        if name in self._names:
            return True
        steps = tuple(fold(_NESTING.sub(".", name).strip(".")).split(".", self._deepest)[: self._deepest])
        if any(steps[:depth] in self._alike for depth in range(1, len(steps) + 1)):
            ambiguous("A field has a name that some readers take for a session or user id.")
        return False

    def collect(self, fields: Iterable[tuple[str, object]]) -> Mapping[str, object]:
        """The watched ones among the fields. Raises Refusal where one comes twice."""
        found: dict[str, object] = {}
        for name, value in fields:
            if self.is_watched(name):
                if name in found:
                    ambiguous(f"The field {name} is there more than once.")
                found[name] = value
        return found


def read_urlencoded(raw: bytes, names: FieldNames, *, strict: bool) -> Mapping[str, object]:
    """The watched fields of a query or an `application/x-www-form-urlencoded` body. Raises Refusal.

    Where it is `strict` every name must be well formed. Some readers take `;` for a separator as well as `&`: to
    them a watched field must look the same.
    """
    found = names.collect(_pairs(raw, _AMPERSAND, names.longest, strict=strict))
    if b";" in raw and names.collect(_pairs(raw, _EITHER, names.longest, strict=False)) != found:
        ambiguous("Fields are separated by ;, which some readers take for a part of the value.")
    return found


def _pairs(raw: bytes, separator: re.Pattern[bytes], longest: int, *, strict: bool) -> Iterator[tuple[str, str]]:
    """Name and value of every field (WHATWG URL, section 5.1) but those whose names are too long to matter."""
    pieces = separator.split(raw, maxsplit=MOST_FIELDS)
    if len(pieces) > MOST_FIELDS:
        unreadable(f"There are more than {MOST_FIELDS} fields.")
    for piece in pieces:
        raw_name, _, value = piece.partition(b"=")
        if len(raw_name) > longest:
            continue
        name = _decoded(raw_name)
        if strict and (_BAD_PERCENT(raw_name) or _CONTROLS(name)):
            unreadable("The name of a field cannot be read.")
        yield name, _decoded(value)


def _decoded(raw: bytes) -> str:
    """Bytes that are not UTF-8 become U+FFFD, which no name and no id contains."""
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")
