"""Writes that belong to a session by what they carry, and must name it."""

from __future__ import annotations

import pytest

from sidecar.model import Reason, Reference, Refusal
from tests.support.reading import found, refused

MEMORIES = "/api/v1/memories"
SESSION_MEMORY = {"memory_type": "session", "user_id": "u1", "content": "Hello"}


def test_a_session_memory_names_its_session_in_its_metadata() -> None:
    """As the platform's own client writes it."""
    body = {**SESSION_MEMORY, "metadata": {"session_id": "chat-9"}}
    assert found(body, target=MEMORIES) == Reference("chat-9", "u1")


def test_a_session_memory_without_a_session_is_refused() -> None:
    """The memory service would give it a random session."""
    assert refused(SESSION_MEMORY, target=MEMORIES) == Refusal(
        Reason.SESSION_ID_REQUIRED, "A write of session memory needs a session id.", None
    )
    assert refused({**SESSION_MEMORY, "session_id": None}, target=MEMORIES).reason is Reason.SESSION_ID_REQUIRED


@pytest.mark.parametrize("memory_type", ["factual", "Session", None, 1, ["session"]])
def test_other_memories_may_name_none(memory_type: object) -> None:
    """They belong to a user alone."""
    assert found({**SESSION_MEMORY, "memory_type": memory_type}, target=MEMORIES) is None


def test_other_routes_may_name_none() -> None:
    """A change of a memory that exists does not create a session."""
    assert found(SESSION_MEMORY, target=f"{MEMORIES}/extract") is None


def test_two_types_are_ambiguous() -> None:
    """Readers differ in which of them they see."""
    body = b'{"memory_type": "factual", "memory_type": "session", "user_id": "u1"}'
    assert refused(body, target=MEMORIES).reason is Reason.AMBIGUOUS_SESSION


def test_metadata_and_the_top_must_agree() -> None:
    """Either may be the one that is used."""
    body = {**SESSION_MEMORY, "session_id": "a", "metadata": {"session_id": "b"}}
    assert refused(body, target=MEMORIES).reason is Reason.AMBIGUOUS_SESSION
