"""Memories of all types over HTTP, on both databases."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from memory_service.model import MemoryType
from tests.support.memories import Clock

TYPES = list(MemoryType)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def remember(client: httpx.AsyncClient, user: str, memory_type: str, **fields: Any) -> dict[str, Any]:
    session = {"session_id": "s"} if memory_type == "session" else {}
    body = {"memory_type": memory_type, "user_id": user, "content": "something", **session, **fields}
    response = await client.post("/memories", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def listed(client: httpx.AsyncClient, user: str, **query: Any) -> list[str]:
    response = await client.get("/memories", params={"user_id": user, **query})
    assert response.status_code == 200, response.text
    return [memory["content"] for memory in response.json()["memories"]]


@pytest.mark.parametrize("memory_type", TYPES)
async def test_a_memory_lives_and_dies(client: httpx.AsyncClient, user: str, memory_type: str) -> None:
    """Stored, read, changed, read again, deleted: for every type."""
    memory = await remember(client, user, memory_type, content="The cat", importance_score=0.25, metadata={"a": [1]})
    url = f"/memories/{memory_type}/{memory['id']}"
    assert (await client.get(url)).json() == memory
    assert memory["memory_type"] == memory_type
    assert memory["user_id"] == user
    assert (memory["content"], memory["importance_score"], memory["metadata"]) == ("The cat", 0.25, {"a": [1]})

    changed = await client.patch(url, json={"content": "The dog", "importance_score": 1, "metadata": {"b": None}})
    assert changed.status_code == 200
    assert changed.json() == {**memory, "content": "The dog", "importance_score": 1.0, "metadata": {"b": None}}
    assert (await client.get(url)).json() == changed.json()

    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).status_code == 404
    assert (await client.delete(url)).status_code == 404
    assert (await client.patch(url, json={"content": "x"})).json()["reason"] == "memory_not_found"


async def test_a_memory_is_found_under_its_own_type_only(client: httpx.AsyncClient, user: str) -> None:
    """The type is part of the address."""
    memory = await remember(client, user, "factual")
    assert (await client.get(f"/memories/semantic/{memory['id']}")).status_code == 404


async def test_a_memory_is_its_users(client: httpx.AsyncClient, user: str) -> None:
    """Where a user is named, another user's memory is not there: not to be read, changed or deleted."""
    memory = await remember(client, user, "factual", content="kept")
    url = f"/memories/factual/{memory['id']}"
    assert (await client.get(url, params={"user_id": "somebody"})).status_code == 404
    assert (await client.patch(url, json={"user_id": "somebody", "content": "x"})).status_code == 404
    assert (await client.delete(url, params={"user_id": "somebody"})).status_code == 404
    assert (await client.get(url, params={"user_id": user})).json()["content"] == "kept"


async def test_a_session_may_be_named_in_the_context(client: httpx.AsyncClient, user: str, session: str) -> None:
    """In the context or beside it is the same; the rest of the context is kept."""
    inside = await remember(client, user, "episodic", context={"session_id": session, "place": "home"})
    beside = await remember(client, user, "episodic", session_id=session, context={"session_id": None})
    assert inside["session_id"] == beside["session_id"] == session
    assert inside["context"] == {"session_id": session, "place": "home"}
    within = await remember(client, user, "session", session_id=None, metadata={"session_id": session})
    assert (within["session_id"], within["metadata"]) == (session, {"session_id": session})
    assert len(await listed(client, user, session_id=session)) == 3
    assert await listed(client, user, session_id="another") == []


async def test_a_memory_may_move_to_another_session(client: httpx.AsyncClient, user: str, session: str) -> None:
    """A change may name a session, and the context never names another one; what it does not name stays."""
    memory = await remember(client, user, "factual", context={"place": "home", "session_id": "before"})
    url = f"/memories/factual/{memory['id']}"
    changed = (await client.patch(url, json={"user_id": user, "session_id": session})).json()
    assert changed == {**memory, "session_id": session, "context": {"place": "home", "session_id": session}}
    changed = (await client.patch(url, json={"context": {"session_id": "after"}})).json()
    assert (changed["session_id"], changed["context"]) == ("after", {"session_id": "after"})


async def test_a_session_memory_that_names_no_session_is_refused(client: httpx.AsyncClient, user: str) -> None:
    """No id is made up for it: under one that its client does not know, no context would ever show it."""
    body = {"memory_type": "session", "user_id": user, "content": "lost?"}
    for nothing in ({}, {"session_id": None}, {"metadata": {"session_id": None}, "context": {}}):
        response = await client.post("/memories", json={**body, **nothing})
        assert (response.status_code, response.json()["reason"]) == (422, "session_id_required")
    assert await listed(client, user) == []


async def test_a_session_memory_is_a_message(client: httpx.AsyncClient, user: str, session: str) -> None:
    """A message stored as a memory is in the context of its session, and the other way round."""
    await remember(client, user, "session", content="one", session_id=session, role="assistant")
    await client.post(
        "/memories/session/store", json={"user_id": user, "session_id": session, "message_content": "two"}
    )
    context = (await client.get(f"/memories/session/{session}/context", params={"user_id": user})).json()
    assert [(one["message_content"], one["role"]) for one in context["recent_messages"]] == [
        ("one", "assistant"),
        ("two", "user"),
    ]
    assert await listed(client, user, memory_type="session") == ["two", "one"]


async def test_fields_of_the_types_own_are_kept(client: httpx.AsyncClient, user: str) -> None:
    """What the service has no word for ends up in the metadata, which may be given as well."""
    memory = await remember(client, user, "factual", subject="Ada", confidence=0.9, metadata={"source": "chat"})
    assert memory["metadata"] == {"subject": "Ada", "confidence": 0.9, "source": "chat"}


@pytest.mark.parametrize("path", ["factual/extract", "working/store"])
async def test_fields_of_a_memory_are_unknown_to_a_dialogue_and_kept(
    client: httpx.AsyncClient, user: str, path: str
) -> None:
    """A dialogue has its type from its path and its text from `dialog_content`, beside any other fields."""
    extras = {"memory_type": "session", "content": "other", "role": "", "message_type": 7, "id": "x", "expires_at": 1}
    extras |= {"ttl_seconds": "long"} if path == "factual/extract" else {}
    body = {"user_id": user, "dialog_content": "We talked.", **extras}
    stored = await client.post(f"/memories/{path}", json=body)
    assert stored.status_code == 200, stored.text
    memory = (await client.get(f"/memories/{path.partition('/')[0]}/{stored.json()['id']}")).json()
    assert (memory["content"], memory["metadata"]) == ("We talked.", extras)


async def test_working_memories_expire(client: httpx.AsyncClient, user: str, clock: Clock) -> None:
    """Once its time is over a working memory is gone for every call."""
    memory = await remember(client, user, "working", content="soup", ttl_seconds=10)
    url = f"/memories/working/{memory['id']}"
    assert memory["expires_at"] == "2026-01-02T03:04:15.678901Z"
    clock.pass_seconds(9.9)
    assert await listed(client, user) == ["soup"]
    clock.pass_seconds(0.1)
    assert await listed(client, user) == []
    assert (await client.get(url)).status_code == 404
    assert (await client.patch(url, json={"content": "x"})).status_code == 404
    assert (await client.delete(url)).status_code == 404
    assert (await client.get("/memories/search", params={"user_id": user, "q": "soup"})).json()["memories"] == []
    assert (await client.get("/memories/statistics", params={"user_id": user})).json()["total"] == 0


async def test_working_memories_last_an_hour_unless_told(client: httpx.AsyncClient, user: str, clock: Clock) -> None:
    """There is always an end, and a change can move it."""
    memory = await remember(client, user, "working")
    assert memory["expires_at"] == "2026-01-02T04:04:05.678901Z"
    clock.pass_seconds(60)
    changed = await client.patch(f"/memories/working/{memory['id']}", json={"ttl_seconds": 5})
    assert changed.json()["expires_at"] == "2026-01-02T03:05:10.678901Z"
    assert changed.json()["updated_at"] == "2026-01-02T03:05:05.678901Z"


async def test_other_memories_do_not_expire(client: httpx.AsyncClient, user: str, clock: Clock) -> None:
    """Time alone takes nothing else away."""
    memory = await remember(client, user, "factual")
    clock.pass_seconds(1e9)
    assert (await client.get(f"/memories/factual/{memory['id']}")).json()["expires_at"] is None


async def test_a_list_is_newest_first_and_in_pages(client: httpx.AsyncClient, user: str) -> None:
    """Cursors lead through everything once, also while more is stored."""
    for number in range(5):
        await remember(client, user, "factual", content=f"f{number}")
    seen, cursor = [], None
    while True:
        query = {"user_id": user, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/memories", params=query)).json()
        seen += [memory["content"] for memory in page["memories"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await remember(client, user, "factual", content="later")
    assert seen == ["f4", "f3", "f2", "f1", "f0"]


async def test_a_list_may_be_of_some_types(client: httpx.AsyncClient, user: str) -> None:
    """Types may be repeated or joined by commas."""
    for memory_type in TYPES:
        await remember(client, user, memory_type, content=memory_type)
    assert await listed(client, user) == TYPES[::-1]
    assert await listed(client, user, memory_type="semantic") == ["semantic"]
    assert await listed(client, user, memory_type="semantic,factual") == ["semantic", "factual"]
    assert await listed(client, user, memory_type=["semantic", "factual,working"]) == ["working", "semantic", "factual"]


async def test_statistics_count_what_is_there(client: httpx.AsyncClient, user: str, clock: Clock) -> None:
    """Each type is counted, and the sessions that have messages."""
    for memory_type in TYPES:
        await remember(client, user, memory_type)
        clock.pass_seconds(1)
    await remember(client, user, "session", session_id="t")
    assert (await client.get("/memories/statistics", params={"user_id": user})).json() == {
        "user_id": user,
        "total": 7,
        "by_type": dict.fromkeys(TYPES, 1) | {"session": 2},
        "sessions": 2,
        "oldest_at": "2026-01-02T03:04:05.678901Z",
        "newest_at": "2026-01-02T03:04:11.678901Z",
    }


async def test_statistics_of_nobody_are_zero(client: httpx.AsyncClient, user: str) -> None:
    """A user who has nothing is no error."""
    found = (await client.get("/memories/statistics", params={"user_id": user})).json()
    assert (found["total"], found["sessions"], found["oldest_at"]) == (0, 0, None)
    assert set(found["by_type"].values()) == {0}
