"""Lists whose elements name sessions: one reference each, and what contradicts is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.extract.json.list_elements import MOST_REFERENCES
from sidecar.model import Reason
from sidecar.profile.loading import find_profile
from tests.support.reading import JSON, head, reader

PROFILE = find_profile("agent-memory-server")


def calls(body: Any, target: str = "/v1/long-term-memory/", method: str = "POST", **settings: Any) -> list[str]:
    """What is named, or the reason why it is refused."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [JSON, *settings.pop("headers", ())]
    classification = reader(PROFILE, **settings).classify(head(method, target, *headers))
    assert classification is not None
    return [
        call.refusal.reason.value
        if call.refusal is not None
        else "-"
        if call.reference is None
        else f"{call.reference.session_id} {call.reference.user_id}"
        for call in classification.extract(raw).calls
    ]


def memory(session_id: object, user_id: object = "ann") -> dict[str, object]:
    return {"text": "x", "session_id": session_id, "user_id": user_id}


def test_each_session_is_named_once_in_the_order_of_the_body() -> None:
    body = {"memories": [memory("s2"), memory("s1"), memory("s2"), memory("s1", "bob")]}
    assert calls(body) == ["s2 ann", "s1 ann", "s1 bob"]


@pytest.mark.parametrize("empty", [[], None, {}, "x", [1, "a", None, []]])
def test_a_list_without_sessions_names_none(empty: object) -> None:
    assert calls({"memories": empty}) == ["-"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (memory("../s"), Reason.INVALID_SESSION_ID),
        (memory(7), Reason.INVALID_SESSION_ID),
        (memory("s2", ["ann"]), Reason.INVALID_USER_ID),
        ({"session_id": "s2"}, Reason.USER_ID_REQUIRED),
    ],
)
def test_one_bad_element_refuses_the_request(bad: object, reason: Reason) -> None:
    assert calls({"memories": [memory("s1"), bad]}) == [reason]


def test_a_key_that_stands_twice_in_an_element_is_ambiguous() -> None:
    body = b'{"memories": [{"session_id": "s1", "user_id": "ann"}, {"session_id": "s2", "session_id": "s3"}]}'
    assert calls(body) == [Reason.AMBIGUOUS_SESSION]


def test_the_requests_own_session_comes_first() -> None:
    body = {"user_id": "ann", "memories": [memory("s2"), {"text": "x"}, memory("s1")]}
    assert calls(body, "/v1/working-memory/s1", "PUT") == ["s1 ann", "s2 ann"]


def test_a_gateways_user_owns_every_element() -> None:
    """An element for a user other than the gateway's is refused as another user's session."""
    settings = {"user_header": "X-User", "headers": [(b"x-user", b"ann")]}
    assert calls({"memories": [memory("s1"), memory("s2")]}, **settings) == ["s1 ann", "s2 ann"]
    refused = calls({"memories": [memory("s1"), memory("s2", "bob")]}, **settings)
    assert refused == [Reason.SESSION_OWNED_BY_ANOTHER_USER]


def test_more_sessions_than_one_request_may_create_are_refused() -> None:
    body = {"memories": [memory(f"s{number}") for number in range(MOST_REFERENCES + 1)]}
    assert calls(body) == [Reason.UNREADABLE_BODY]
    assert len(calls({"memories": body["memories"][1:]})) == MOST_REFERENCES
