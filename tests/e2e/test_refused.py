"""Writes that must not go through: each gets its reason, and nothing is stored."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.support.platform import STORE, Platform, new_id


def refused(response: httpx.Response, status: int, reason: str) -> None:
    """The answer is this refusal, in the published form."""
    assert (response.status_code, response.json().get("reason")) == (status, reason), response.text
    assert response.headers["x-sidecar-reason"] == reason
    assert set(response.json()) == {"detail", "reason", "session_id"}


def post(platform: Platform, body: bytes, path: str = STORE) -> httpx.Response:
    """Send these bytes as JSON through the sidecar."""
    return platform.http.post(platform.sidecar + path, content=body, headers={"content-type": "application/json"})


def test_another_users_session_is_403_and_nothing_is_stored(platform: Platform) -> None:
    """The owner is compared, whether or not the session is known."""
    owner, other = new_id("owner"), new_id("other")
    session = platform.create(owner)
    refused(platform.store(other, session), 403, "session_owned_by_another_user")
    assert platform.store(owner, session, "mine").status_code == 200
    refused(platform.store(other, session), 403, "session_owned_by_another_user")
    assert platform.stored(owner, session) == ["mine"]
    assert platform.stored(other, session) == []


def test_a_deleted_session_is_410_and_a_write_never_brings_it_back(platform: Platform) -> None:
    """A tombstone is final."""
    user = new_id("user")
    session = platform.create(user)
    assert platform.http.delete(f"{platform.sessions}/api/v1/sessions/{session}").status_code == 204
    refused(platform.store(user, session), 410, "session_gone")
    assert platform.stored(user, session) == []
    assert platform.session(session).status_code == 410


@pytest.mark.parametrize("exists", [True, False])
def test_a_write_that_names_no_user_is_422_whether_the_session_exists_or_not(platform: Platform, exists: bool) -> None:
    """Otherwise the answer would tell strangers which sessions there are."""
    session = platform.create(new_id("user")) if exists else new_id("session")
    refused(platform.store(None, session), 422, "user_id_required")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"user_id": "U", "session_id": "S", "message_content": "x"', "unreadable_body"),
        ('{"user_id": "U", "session_id": "S", "message_content": "x"} trailing', "unreadable_body"),
        ('{"user_id": "U", "session_id": "S", "message_content": NaN}', "unreadable_body"),
        ('{"user_id": "U", "session_id": "other", "session_id": "S", "message_content": "x"}', "ambiguous_session"),
        ('{"user_id": "U", "session_id": "other", "session\\u005fid": "S"}', "ambiguous_session"),
        ('{"user_id": "V", "session_id": "S", "message_content": "x", "user_id": "U"}', "ambiguous_session"),
        ('{"user_id": "U", "session_id": "S", "context": {"session_id": "other"}, "message_content": "x"}',
         "ambiguous_session"),
    ],
)  # fmt: skip
def test_a_body_that_two_readers_could_read_differently_is_400_and_nothing_is_stored(
    platform: Platform, body: str, reason: str
) -> None:
    """Malformed JSON, duplicate keys, escaped duplicates and two places that disagree are refused."""
    user, session = new_id("user"), new_id("session")
    text = body.replace('"U"', json.dumps(user)).replace('"S"', json.dumps(session))
    refused(post(platform, text.encode()), 400, reason)
    assert platform.stored(user, session) == []
    assert platform.session(session).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/memories/session/%73tore",
        "/api/v1/memories/session%2Fstore",
        "/api/v1/memories/session%2fstore",
        "/api/v1//memories/session/store",
        "//api/v1/memories/session/store",
        "/api/v1/memories/./session/store",
        "/api/v1/memories/x/../session/store",
        "/api/v1/memories/x/%2e%2e/session/store",
        "/api/v1/memories\\session\\store",
        "/%61pi/v1/memories/session/store",
        "/api/v1/memories/session/store/",
        "/api/v1/memories/session/store%00",
    ],
)
def test_another_spelling_of_a_guarded_path_never_gets_past_the_guard(platform: Platform, path: str) -> None:
    """A write for somebody else's session is refused under every spelling, so nothing is stored."""
    owner, other = new_id("owner"), new_id("other")
    session = platform.create(owner)
    body = json.dumps({"user_id": other, "session_id": session, "message_content": "x"}).encode()
    url = httpx.URL(platform.sidecar).copy_with(raw_path=path.encode())
    response = platform.http.post(url, content=body, headers={"content-type": "application/json"})
    assert response.headers["x-sidecar-reason"] in {"session_owned_by_another_user", "ambiguous_path"}
    assert platform.stored(other, session) == []


@pytest.mark.parametrize("session_id", ["", "a b", "a/b", "..", "é", "x" * 256, "a\u0000b", 7, True, ["s"], {"a": 1}])
def test_an_id_outside_the_grammar_is_422(platform: Platform, session_id: object) -> None:
    """The guard refuses the id, and the memory service does not see the request."""
    body = {"user_id": new_id("user"), "session_id": session_id, "message_content": "x"}
    refused(post(platform, json.dumps(body).encode()), 422, "invalid_session_id")


def test_a_refused_tool_call_gets_an_error_with_its_own_id(platform: Platform) -> None:
    """HTTP 200, so that clients keep their connection, and a JSON-RPC error for the call."""
    owner, other = new_id("owner"), new_id("other")
    session = platform.create(owner)
    arguments = {"user_id": other, "session_id": session, "message_content": "x"}
    call = {
        "jsonrpc": "2.0",
        "id": "call-7",
        "method": "tools/call",
        "params": {"name": "store_session_message", "arguments": arguments},
    }
    headers = {"accept": "application/json, text/event-stream"}
    response = platform.http.post(f"{platform.sidecar}/mcp", json=call, headers=headers)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["id"], answer["error"]["code"]) == ("call-7", -31040)
    assert answer["error"]["data"]["reason"] == "session_owned_by_another_user"
    assert platform.stored(other, session) == []


def test_a_batch_with_one_bad_call_stores_nothing_and_creates_nothing(platform: Platform) -> None:
    """All calls are decided before any session is created, and one refusal refuses all."""
    owner, other, fresh = new_id("owner"), new_id("other"), new_id("session")
    session = platform.create(owner)
    batch = [
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "tools/call",
            "params": {
                "name": "store_session_message",
                "arguments": {"user_id": other, "session_id": name, "message_content": "x"},
            },
        }
        for number, name in enumerate([fresh, session])
    ]
    headers = {"accept": "application/json, text/event-stream"}
    response = platform.http.post(f"{platform.sidecar}/mcp", json=batch, headers=headers)
    reasons = {answer["id"]: answer["error"]["data"]["reason"] for answer in response.json()}
    assert reasons == {0: "batch_refused", 1: "session_owned_by_another_user"}
    assert platform.session(fresh).status_code == 404
    assert platform.stored(other, fresh) == []
