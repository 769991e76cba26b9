"""How ids are weighed: where the session service takes a UUID in any spelling, every spelling of it is one session."""

from __future__ import annotations

import json

import pytest

from sidecar.cache.session_cache import SessionCache
from sidecar.model import Reference, Session, SessionStatus
from sidecar.profile.loading import load_profile
from tests.support.reading import STORE, found, read, tool

UUID = "550e8400-e29b-41d4-a716-44665544abcd"
PROFILE = load_profile("""
name = "uuids"
prefixes = ["/api/v1/memories"]
mcp = ["/mcp"]
owner = "required"

[ids.session_id]
json = ["session_id", "memories[].session_id"]

[ids.user_id]
json = ["user_id"]

[[rules]]
kind = "ensure"
paths = ["/api/v1/memories/session/store", "/api/v1/memories/{session_id}"]

[[rules]]
kind = "ensure"
tools = ["*"]

[session_service]
style = "post"
id_field = "id"
owner_field = "user"
id_equals = "uuid"

[session_service.look]
path = "/sessions/{session_id}"
statuses = { found = [200], absent = [404] }
""")


@pytest.mark.parametrize(
    "spelling", [UUID, UUID.upper(), UUID.title(), UUID.replace("-", ""), f"urn:uuid:{UUID}", UUID.replace("-", "", 1)]
)
@pytest.mark.parametrize(
    ("target", "body"),
    [
        (STORE, {"session_id": "?", "user_id": "ann"}),
        (STORE, {"user_id": "ann", "session_id": "?", "context": {"session_id": None}}),
        ("/api/v1/memories/?", {"user_id": "ann"}),
        ("/mcp", tool("store", {"session_id": "?", "user_id": "ann"})),
    ],
)
def test_a_uuid_in_any_spelling_names_the_same_session(spelling: str, target: str, body: dict[str, object]) -> None:
    """The reference has the canonical form, wherever the id stands and however the body is read."""
    text = json.dumps(body).replace("?", spelling).encode()
    assert found(text, target=target.replace("?", spelling), profile=PROFILE) == Reference(UUID, "ann")


def test_the_elements_of_a_list_that_spell_one_uuid_in_two_ways_name_one_session() -> None:
    body = {"user_id": "ann", "memories": [{"session_id": UUID}, {"session_id": UUID.upper()}]}
    calls = read(body, profile=PROFILE).calls
    assert [call.reference for call in calls] == [Reference(UUID, "ann")]


def test_an_event_about_a_session_outdates_what_was_learnt_under_another_spelling() -> None:
    reference = found({"session_id": UUID.upper(), "user_id": "ann"}, profile=PROFILE)
    assert reference is not None
    cache = SessionCache(10, 300)
    cache.stream_up()
    cache.remember(reference.key, Session("ann", SessionStatus.ACTIVE), cache.ticket())
    assert cache.admits(reference.key, "ann")
    cache.deleted(UUID)
    assert not cache.admits(reference.key, "ann")


@pytest.mark.parametrize("spelling", ["S-1", UUID.upper()[:-1], f"u_{UUID.upper()}"])
def test_an_id_that_is_no_uuid_stands_as_it_came(spelling: str) -> None:
    assert found({"session_id": spelling, "user_id": "ann"}, profile=PROFILE) == Reference(spelling, "ann")


def test_other_profiles_keep_the_letter_case() -> None:
    assert found({"session_id": UUID.upper(), "user_id": "ann"}) == Reference(UUID.upper(), "ann")
