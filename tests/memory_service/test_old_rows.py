"""One old row at a time, without a database."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from memory_service.migrations.old_rows import NotText, as_memory, unread, why_not

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ROW = {"id": str(uuid.UUID(int=1)), "session_id": "s", "user_id": str(uuid.UUID(int=2))}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"session_id": None}, "session_id is missing"),
        ({"session_id": "a b"}, "session_id holds a character"),
        ({"user_id": None}, "user_id is missing"),
        ({"user_id": "."}, "user_id is a dot segment"),
        ({"user_id": "u" * 256}, "user_id is longer than 255"),
        ({"content": NotText("a\\xff")}, "content is not UTF-8"),
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
    odd = {"importance_score": 7, "is_active": ["maybe"], "created_at": "once", "role": 3, "metadata": [1]}
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


@pytest.mark.parametrize("told", [7, "7", "mem_789abc", "m" * 36])
def test_any_short_id_is_kept(told: object) -> None:
    """A number becomes text; an id need be no UUID."""
    memory = as_memory({**ROW, "id": told}, NOW)
    assert (memory["id"], memory["metadata"]) == (str(told), {})


def test_a_row_without_a_usable_id_gets_one_that_lasts() -> None:
    """The same row at the same place gets the same id, also the next time; an id that is too long is not lost."""
    for row in ({**ROW, "id": None}, {"session_id": "s", "user_id": "u"}):
        first, again, other = as_memory(row, NOW, 1), as_memory(row, NOW, 1), as_memory(row, NOW, 2)
        assert first["id"] == again["id"] != other["id"]
        assert uuid.UUID(first["id"]).version == 5
    long = as_memory({**ROW, "id": "m" * 37}, NOW, 1)
    assert long["id"] == as_memory({**ROW, "id": "m" * 37}, NOW, 2)["id"]
    assert long["metadata"] == {"session_memories": {"id": "m" * 37}}


@pytest.mark.parametrize(
    ("told", "time"),
    [
        (1725177600, dt.datetime(2024, 9, 1, 8, tzinfo=dt.UTC)),
        ("1725177600", dt.datetime(2024, 9, 1, 8, tzinfo=dt.UTC)),
        ("2025/09/01 08:00", dt.datetime(2025, 9, 1, 8, tzinfo=dt.UTC)),
        ("2025-09-01T08:00:00Z", dt.datetime(2025, 9, 1, 8, tzinfo=dt.UTC)),
    ],
)
def test_common_spellings_of_a_time_are_read(told: object, time: dt.datetime) -> None:
    """Numbers since 1970 and slashes are times as well."""
    assert as_memory({**ROW, "created_at": told}, NOW)["created_at"] == time


@pytest.mark.parametrize("far", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "infinity", -9e99])
def test_a_time_that_no_database_holds_is_kept_beside(far: object) -> None:
    """It would end the migration; the value is not lost."""
    memory = as_memory({**ROW, "created_at": far}, NOW)
    assert (memory["created_at"], memory["metadata"]) == (NOW, {"session_memories": {"created_at": far}})
    assert unread(memory) == ["created_at"]


def test_metadata_that_is_text_is_read() -> None:
    """SQLite has no type for JSON: an object comes as its text."""
    assert as_memory({**ROW, "metadata": '{"a": [1]}'}, NOW)["metadata"] == {"a": [1]}


@pytest.mark.parametrize(
    "text", ["", "{'a': 1}", '{"a": NaN}', '{"a": "\\ud800"}', '{"a": "\\u0000"}', "[" * 100_000, "[1]"]
)
def test_metadata_that_cannot_be_read_stay_text(text: str) -> None:
    """What a client could not be answered with is kept as it was written, and told."""
    memory = as_memory({**ROW, "metadata": text}, NOW)
    assert memory["metadata"] == {"session_memories": {"metadata": text}}
    assert unread(memory) == ["metadata"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"\x00\xff", "00ff"),
        (float("inf"), "inf"),
        ({"a": "\ud800"}, '{"a": "\\ud800"}'),
        ({"a": [float("nan")]}, '{"a": [NaN]}'),
        ("a\0b", '"a\\u0000b"'),
    ],
)
def test_what_json_does_not_hold_is_kept_in_its_spelling(value: object, kept: str) -> None:
    """One foul value makes no memory unreadable."""
    assert as_memory({**ROW, "odd": value}, NOW)["metadata"] == {"session_memories": {"odd": kept}}
