"""Escapes text of clients, so that no character in it moves a cursor, colours a terminal or breaks a line."""

from __future__ import annotations

import re
from typing import Final

_LEFT_BY_JSON: Final = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters, line separators and direction marks that JSON (RFC 8259, section 7) need not escape."""


def printable(text: str) -> str:
    """Escape what cannot be printed, line breaks included, as a Python literal does."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def printable_json(text: str) -> str:
    """Escape in a JSON text what a JSON string may hold and a terminal or a reader of lines acts upon."""
    return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
