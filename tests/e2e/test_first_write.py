"""The product in one file: a write for an unknown session makes that session exist, then reaches the memory service."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from mcp import Client

from tests.support.callers import OverPool
from tests.support.platform import STORE, Platform, new_id


def test_a_message_for_a_created_session_is_stored_and_read_back(platform: Platform) -> None:
    """Create a session, store a message, read its context: the flow that always worked still does."""
    user = new_id("user")
    session = platform.create(user)
    response = platform.store(user, session, "Hello, how are you?")
    assert response.status_code == 200
    assert response.json()["success"] is True
    context = platform.context(user, session)
    assert context["session_found"] is True
    assert [message["message_content"] for message in context["recent_messages"]] == ["Hello, how are you?"]


def test_a_message_for_a_session_nobody_created_makes_that_session_exist(platform: Platform) -> None:
    """The store succeeds, the session service knows that id with that owner, and the context holds the message."""
    user, session = new_id("user"), new_id("session")
    assert platform.session(session).status_code == 404
    assert platform.store(user, session, "你好").status_code == 200
    found = platform.session(session)
    assert found.status_code == 200
    assert (found.json()["session_id"], found.json()["user_id"]) == (session, user)
    assert platform.stored(user, session) == ["你好"]


def test_a_session_that_the_sidecar_made_says_so_in_its_metadata(platform: Platform) -> None:
    """`metadata.source` tells sessions that a write made from those that their application created."""
    user, session = new_id("user"), new_id("session")
    platform.store(user, session, "hi")
    assert platform.session(session).json()["metadata"] == {"source": "session-sidecar"}


def test_a_session_that_existed_keeps_its_metadata(platform: Platform) -> None:
    """The sidecar's `PUT` finds the session and changes nothing in it."""
    user, session = new_id("user"), new_id("session")
    own = {"user_id": user, "metadata": {"source": "app"}}
    platform.http.put(f"{platform.sessions}/api/v1/sessions/{session}", json=own)
    platform.store(user, session, "hi")
    assert platform.session(session).json()["metadata"] == {"source": "app"}


def test_a_memory_with_its_session_in_the_context_makes_that_session_exist(platform: Platform) -> None:
    """A nested `context.session_id` counts as much as one at the top level."""
    user, session = new_id("user"), new_id("session")
    body = {"memory_type": "factual", "user_id": user, "content": "Likes tea", "context": {"session_id": session}}
    response = platform.http.post(f"{platform.sidecar}/api/v1/memories", json=body)
    assert response.status_code == 201, response.text
    assert platform.session(session).json()["user_id"] == user


def test_summarizing_names_its_session_in_the_path_and_its_user_in_the_query(platform: Platform) -> None:
    """A session id in the path is found, and the user id in the query beside it."""
    user, session = new_id("user"), new_id("session")
    path = f"/api/v1/memories/session/{session}/summarize"
    platform.http.post(platform.sidecar + path, params={"user_id": user})
    assert platform.session(session).json()["user_id"] == user


def test_reading_never_creates_a_session(platform: Platform) -> None:
    """GET requests pass with any session id."""
    user, session = new_id("user"), new_id("session")
    platform.context(user, session)
    assert platform.session(session).status_code == 404


def test_deactivating_an_unknown_session_never_creates_it(platform: Platform) -> None:
    """Deactivating and deleting are passed on and not looked at."""
    user, session = new_id("user"), new_id("session")
    path = f"/api/v1/memories/session/{session}/deactivate"
    platform.http.post(platform.sidecar + path, params={"user_id": user})
    assert platform.session(session).status_code == 404


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_mcp_client_stores_under_a_session_nobody_created(platform: Platform, mode: str) -> None:
    """With either protocol revision the tool call succeeds, the session exists and the context holds the message."""
    user, session = new_id("user"), new_id("session")
    async with Client(f"{platform.sidecar}/mcp", mode=mode) as client:
        arguments = {"user_id": user, "session_id": session, "message_content": "from MCP"}
        result = await client.call_tool("store_session_message", arguments)
        assert not result.is_error
        context = await client.call_tool("get_session_context", {"user_id": user, "session_id": session})
        assert "from MCP" in str(context)
    assert platform.session(session).json()["user_id"] == user
    assert platform.stored(user, session) == ["from MCP"]


async def test_two_hundred_first_writes_at_once_make_one_session_and_two_hundred_messages(platform: Platform) -> None:
    """One create at the session service, every message stored, none lost, none doubled."""
    user, session = new_id("user"), new_id("session")
    before = platform.metric("sidecar_session_calls_total")
    # httpx's own pool is slow over many waiting requests.
    transport = OverPool(200)
    async with httpx.AsyncClient(base_url=platform.sidecar, transport=transport, timeout=60) as http:
        writes = [
            http.post(STORE, json={"user_id": user, "session_id": session, "message_content": f"message {n}"})
            for n in range(200)
        ]
        responses = await asyncio.gather(*writes)
    assert {response.status_code for response in responses} == {200}
    assert sorted(platform.stored(user, session)) == sorted(f"message {n}" for n in range(200))
    assert platform.metric("sidecar_session_calls_total") - before == 1
