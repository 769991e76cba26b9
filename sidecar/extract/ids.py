"""Session and user ids: the safe grammar, and the formats that can be demanded.

Ids are opaque: they are compared byte for byte and never rewritten, so everything here says yes or no to one.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from sidecar.profile.profile import IdGrammar

CANONICAL: Final = "a UUID in canonical form (lower case, 8-4-4-4-12)"
"""What the format `uuid` demands, for messages."""

_SAFE = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._~:@|+=-]{1,255}").fullmatch
_TEXT = re.compile(r"(?!\.\.?\Z)[^\x00-\x1f\x7f-\x9f/\\\ud800-\udfff\u2028\u2029\ufeff]{1,255}").fullmatch
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_UUID_LENGTH = 36

Check: TypeAlias = Callable[[str], object]
"""A test of an id: what it gives is true where the id passes. A pattern's own method is one, and costs no call more."""


class IdFormat(enum.StrEnum):
    """What is demanded of ids beyond the safe grammar: nothing, or a UUID (sessions may prefix it)."""

    OPAQUE = "opaque"
    UUID = "uuid"


def is_safe(text: str) -> bool:
    """Whether the text is in the safe grammar: 1 to 255 of `A-Z a-z 0-9 . _ ~ : @ | + = -`, not `.` or `..`."""
    return _SAFE(text) is not None


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its canonical form, hyphenated and in lower case (RFC 9562, section 4).

    Of the spellings that UUID parsers accept this alone is the same id to a program that compares bytes and to one that
    compares values. A service with a uuid column answers any other spelling in this one: as another id than was asked.
    """
    return _UUID(text) is not None


def is_prefixed_uuid(text: str) -> bool:
    """Whether the text is a safe prefix, an underscore and a UUID."""
    prefix, underscore = text[: -_UUID_LENGTH - 1], text[-_UUID_LENGTH - 1 : -_UUID_LENGTH]
    return bool(prefix) and underscore == "_" and is_uuid(text[-_UUID_LENGTH:]) and is_safe(text)


def is_session_uuid(text: str) -> bool:
    """Whether the text is a UUID, with or without a prefix."""
    return is_uuid(text) or is_prefixed_uuid(text)


def is_text(text: str) -> bool:
    """Whether the text is in the wider grammar: 1 to 255 characters, no control characters or slashes, no `.`, `..`."""
    return _TEXT(text) is not None


def session_id_check(demanded: IdFormat, grammar: IdGrammar = IdGrammar.SAFE) -> Check:
    """The test that says whether a session may have an id."""
    return _of_grammar(grammar) if demanded is IdFormat.OPAQUE else is_session_uuid


def user_id_check(demanded: IdFormat, grammar: IdGrammar = IdGrammar.SAFE) -> Check:
    """The test that says whether a user may have an id."""
    return _of_grammar(grammar) if demanded is IdFormat.OPAQUE else is_uuid


def _of_grammar(grammar: IdGrammar) -> Check:
    return _TEXT if grammar is IdGrammar.TEXT else _SAFE
