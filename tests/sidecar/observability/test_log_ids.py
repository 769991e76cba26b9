"""Ids in log lines, hidden or not."""

from __future__ import annotations

import hashlib

import pytest

from sidecar.observability.log_ids import HashedIds, digest
from sidecar.profile.files import find_profile


def test_a_digest_is_what_sha256sum_prints_first() -> None:
    assert digest("s-1") == hashlib.sha256(b"s-1").hexdigest()[:16]


def test_ids_are_replaced_wherever_they_stand() -> None:
    hidden = HashedIds({"api", "session"}).hidden(
        {"session_id": "app/s 1", "user_id": "ada", "path": "/api/session/s%201/ada", "detail": "one sentence"}
    )
    assert hidden == {
        "session_id": f"{digest('app')}/{digest('s 1')}",
        "user_id": digest("ada"),
        "path": f"/api/session/{digest('s 1')}/{digest('ada')}",
        "detail": "one sentence",
    }


@pytest.mark.parametrize("profile", ["isa", "adk", "langgraph", "mem0"])
def test_no_literal_of_a_shipped_profile_captures_an_id(profile: str) -> None:
    literals = find_profile(profile).literals
    assert literals
    assert not [literal for literal in literals if "*" in literal or "{" in literal]
