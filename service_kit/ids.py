"""What both services accept as a session id or a user id, and what a schema migration says of those they do not."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from service_kit.sql.columns import ID_LENGTH

SAFE_PATTERN: Final = rf"^[A-Za-z0-9._~:@|+=-]{{1,{ID_LENGTH}}}$"
"""The safe grammar as a JSON Schema can say it; `.` and `..` are excluded besides."""

_SAFE = re.compile(SAFE_PATTERN.strip("^$")).fullmatch
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_IS_UUID = re.compile(_UUID).fullmatch
_IS_UUID_OR_PREFIXED = re.compile(rf"(?:.+_)?{_UUID}").fullmatch


def unsafe_because(text: str) -> str | None:
    """Why an id is outside the safe grammar, to be read after its name; None for a safe one."""
    if not text:
        return "is empty"
    if len(text) > ID_LENGTH:
        return f"is longer than {ID_LENGTH} characters"
    if text in {".", ".."}:
        return "is a dot segment"
    return None if _SAFE(text) else "holds a character other than A-Z a-z 0-9 . _ ~ : @ | + = -"


def _safe(text: str) -> str:
    if why := unsafe_because(text):
        raise ValueError(why)
    return text


Id = Annotated[
    str,
    AfterValidator(_safe),
    WithJsonSchema({"type": "string", "pattern": SAFE_PATTERN, "not": {"enum": [".", ".."]}}),
]
"""A session id or a user id of a request: opaque, kept byte for byte."""


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its hyphenated form (RFC 9562, section 4)."""
    return _IS_UUID(text) is not None


def is_uuid_or_prefixed(text: str) -> bool:
    """Whether the text is a UUID, or a prefix, an underscore and a UUID."""
    return _IS_UUID_OR_PREFIXED(text) is not None
