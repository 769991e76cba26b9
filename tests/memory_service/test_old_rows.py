"""One old row at a time, without a database."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from memory_service.migrations.old_rows import as_memory, why_not

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ROW = {"id": str(uuid.UUID(int=1)), "session_id": "s", "user_id": str(uuid.UUID(int=2))}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"id": None}, "id is no UUID"),
        ({"id": "7"}, "id is no UUID"),
        ({"session_id": None}, "session_id is missing"),
        ({"session_id": "a b"}, "session_id holds a character"),
        ({"user_id": None}, "user_id is missing"),
        ({"user_id": "."}, "user_id is a dot segment"),
        ({"user_id": "u" * 256}, "user_id is longer than 255"),
    ],
)
def test_a_broken_row_is_told_why(broken: dict[str, Any], why: str) -> None:
    """Each way of being broken has its own words."""
    assert (why_not({**ROW, **broken}) or "").startswith(why)
    assert why_not(ROW) is None


def test_a_row_that_says_nothing_becomes_an_empty_message() -> None:
    """What is not told has its usual value, and the time is that of the move."""
    memory = as_memory(ROW, NOW)
    assert (memory["content"], memory["role"], memory["message_type"]) == ("", "user", "human")
    assert (memory["importance_score"], memory["active"], memory["metadata"]) == (0.5, True, {})
    assert memory["created_at"] == memory["updated_at"] == NOW


def test_the_first_familiar_text_is_the_content() -> None:
    """A summary is content only where there is no message; what is not taken stays in the metadata."""
    memory = as_memory({**ROW, "conversation_summary": "short", "content": "", "message_content": "long"}, NOW)
    assert memory["content"] == "long"
    assert memory["metadata"] == {"session_memories": {"conversation_summary": "short", "content": ""}}
    assert as_memory({**ROW, "conversation_summary": "short"}, NOW)["content"] == "short"


def test_what_does_not_fit_a_field_is_kept_beside_it() -> None:
    """A score out of range, an odd flag or an unreadable time is not guessed at."""
    odd = {"importance_score": 7, "is_active": ["maybe"], "created_at": "yesterday", "role": 3, "metadata": [1]}
    memory = as_memory({**ROW, **odd}, NOW)
    assert (memory["importance_score"], memory["active"], memory["created_at"]) == (0.5, True, NOW)
    assert memory["metadata"] == {"session_memories": odd}


@pytest.mark.parametrize("zero", [0, 0.0])
def test_a_score_of_zero_is_a_score(zero: float) -> None:
    """Nothing that was told is taken for nothing."""
    memory = as_memory({**ROW, "importance_score": zero, "active": 0, "metadata": {"a": 1}}, NOW)
    assert (memory["importance_score"], memory["active"], memory["metadata"]) == (0.0, False, {"a": 1})


def test_times_without_a_zone_are_utc() -> None:
    """A zone that is told counts."""
    assert as_memory({**ROW, "created_at": "2025-01-01 00:00:00"}, NOW)["created_at"] == dt.datetime(
        2025, 1, 1, tzinfo=dt.UTC
    )
    assert as_memory({**ROW, "created_at": "2025-01-01T02:00:00+02:00"}, NOW)["created_at"] == dt.datetime(
        2025, 1, 1, tzinfo=dt.UTC
    )
