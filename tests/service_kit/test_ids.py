"""The safe grammar of ids, and the formats that a migration's report tells apart."""

from __future__ import annotations

import re
import uuid

import pytest

from service_kit import ids


@pytest.mark.parametrize("text", ["a", "x" * 255, "auth0|abc", "a.b_c~d:e@f+g=h-i", "...", str(uuid.UUID(int=7))])
def test_a_safe_id_gives_no_reason(text: str) -> None:
    """Everything in the safe grammar passes, and the published pattern agrees."""
    assert ids.unsafe_because(text) is None
    assert re.search(ids.SAFE_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("x" * 256, "is longer than 255 characters"),
        (".", "is a dot segment"),
        ("..", "is a dot segment"),
        ("a b", "holds a character other than"),
        ("a/b", "holds a character other than"),
        ("a%2Fb", "holds a character other than"),
        ("会话", "holds a character other than"),
        ("a\n", "holds a character other than"),
        ("a\0", "holds a character other than"),
    ],
)
def test_an_unsafe_id_is_told_why(text: str, why: str) -> None:
    """Each way of breaking the grammar has its own words."""
    assert (ids.unsafe_because(text) or "").startswith(why)


def test_formats_are_told_apart() -> None:
    """A UUID in either case, one behind a prefix, and anything else."""
    made = str(uuid.uuid4())
    assert ids.is_uuid(made)
    assert ids.is_uuid(made.upper())
    assert not ids.is_uuid(f"user_{made}")
    assert ids.is_uuid_or_prefixed(f"user_a_{made}")
    assert not ids.is_uuid_or_prefixed(f"_{made}")
    assert not ids.is_uuid_or_prefixed(f"user{made}")
    assert not ids.is_uuid_or_prefixed("cli_session_20251008_194657")
