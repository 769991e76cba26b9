"""All calls of the platform's own memory client, which takes status 200 and nothing else for success."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


class MemoryServiceClient:
    """The platform's client as far as a service can see it: its paths, its parameters and what it takes for success."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = await self._http.request(method, path, **options)
        if response.status_code != 200:
            raise ConnectionError(f"{method} {path}: {response.status_code} {response.text}")
        return dict(response.json())

    async def health_check(self) -> dict[str, Any]:
        return await self._request("GET", "http://service/health")

    async def store(self, memory_type: str, user_id: str, dialog_content: str) -> dict[str, Any]:
        body = {"user_id": user_id, "dialog_content": dialog_content, "importance_score": 0.5}
        return await self._request("POST", f"/memories/{memory_type}/extract", json=body)

    async def store_working_memory(self, user_id: str, dialog_content: str, ttl_seconds: int = 3600) -> dict[str, Any]:
        body = {
            "user_id": user_id,
            "dialog_content": dialog_content,
            "ttl_seconds": ttl_seconds,
            "importance_score": 0.5,
        }
        return await self._request("POST", "/memories/working/store", json=body)

    async def store_session_message(self, user_id: str, session_id: str, message_content: str) -> dict[str, Any]:
        body = {
            "user_id": user_id,
            "session_id": session_id,
            "message_content": message_content,
            "message_type": "human",
            "role": "user",
        }
        return await self._request("POST", "/memories/session/store", json=body)

    async def search_memories(
        self, user_id: str, query: str, memory_types: Sequence[str] | None = None, limit_name: str = "limit"
    ) -> dict[str, Any]:
        params: dict[str, Any] = {"user_id": user_id, "query": query, limit_name: 10, "similarity_threshold": 0.4}
        if memory_types:
            params["memory_types"] = ",".join(memory_types)
        return await self._request("GET", "/memories/search", params=params)

    async def search_by(self, memory_type: str, label: str, user_id: str, value: str) -> dict[str, Any]:
        params = {"user_id": user_id, label: value, "limit": 10}
        return await self._request("GET", f"/memories/{memory_type}/search/{label}", params=params)

    async def get_session_context(self, user_id: str, session_id: str) -> dict[str, Any]:
        params = {"user_id": user_id, "include_summaries": "true", "max_recent_messages": 5}
        return await self._request("GET", f"/memories/session/{session_id}/context", params=params)

    async def summarize_session(self, user_id: str, session_id: str) -> dict[str, Any]:
        body = {"user_id": user_id, "force_update": False, "compression_level": "medium"}
        return await self._request("POST", f"/memories/session/{session_id}/summarize", json=body)

    async def get_active_working_memories(self, user_id: str) -> dict[str, Any]:
        return await self._request("GET", "/memories/working/active", params={"user_id": user_id})

    async def get_memory_statistics(self, user_id: str) -> dict[str, Any]:
        return await self._request("GET", "/memories/statistics", params={"user_id": user_id})


Call = Callable[[MemoryServiceClient, str, str], Awaitable[dict[str, Any]]]

CALLS: dict[str, Call] = {
    "health_check": lambda platform, user, session: platform.health_check(),
    "store_factual_memory": lambda platform, user, session: platform.store("factual", user, "Ada lives in Berlin"),
    "store_episodic_memory": lambda platform, user, session: platform.store("episodic", user, "Ada went to Rome"),
    "store_procedural_memory": lambda platform, user, session: platform.store("procedural", user, "Ada boils water"),
    "store_semantic_memory": lambda platform, user, session: platform.store("semantic", user, "Ada means noble"),
    "store_working_memory": lambda platform, user, session: platform.store_working_memory(user, "Ada waits", 60),
    "store_session_message": lambda platform, user, session: platform.store_session_message(user, session, "Hi Ada"),
    "search_memories": lambda platform, user, session: platform.search_memories(user, "Ada"),
    "search_memories_of_types": lambda platform, user, session: platform.search_memories(user, "A", ["factual"]),
    "search_memories_top_k": lambda platform, user, session: platform.search_memories(user, "A", None, "top_k"),
    "search_facts_by_subject": lambda platform, user, session: platform.search_by("factual", "subject", user, "Ada"),
    "search_episodes_by_event_type": lambda platform, user, session: platform.search_by(
        "episodic", "event_type", user, "trip"
    ),
    "search_concepts_by_category": lambda platform, user, session: platform.search_by(
        "semantic", "category", user, "names"
    ),
    "get_session_context": lambda platform, user, session: platform.get_session_context(user, session),
    "summarize_session": lambda platform, user, session: platform.summarize_session(user, session),
    "get_active_working_memories": lambda platform, user, session: platform.get_active_working_memories(user),
    "get_memory_statistics": lambda platform, user, session: platform.get_memory_statistics(user),
}


@pytest.fixture
def platform(client: httpx.AsyncClient) -> MemoryServiceClient:
    """The platform's client, speaking to the service."""
    return MemoryServiceClient(client)


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_succeeds(platform: MemoryServiceClient, user: str, session: str, name: str) -> None:
    """Status 200 and an object, also where nothing is stored yet."""
    assert isinstance(await CALLS[name](platform, user, session), dict)


@pytest.mark.parametrize("memory_type", ["factual", "episodic", "procedural", "semantic"])
async def test_extract_keeps_the_dialogue_and_says_so(
    platform: MemoryServiceClient, client: httpx.AsyncClient, user: str, memory_type: str
) -> None:
    """Without a model there is one memory of that type: what was said."""
    stored = await platform.store(memory_type, user, "user: I moved to Berlin.\nassistant: Nice!")
    assert stored == {
        "success": True,
        "memory_id": stored["id"],
        "id": stored["id"],
        "memory_type": memory_type,
        "session_id": None,
        "operation": f"extract_{memory_type}_memory",
        "message": f"No model is used here: the dialogue is stored as it is, as one {memory_type} memory.",
        "created_at": "2026-01-02T03:04:05.678901Z",
    }
    memory = (await client.get(f"/memories/{memory_type}/{stored['id']}")).json()
    assert memory["content"] == "user: I moved to Berlin.\nassistant: Nice!"
    assert memory["importance_score"] == 0.5


async def test_what_is_stored_is_found(platform: MemoryServiceClient, user: str, session: str) -> None:
    """By words, by type, by subject, in the session, among the working memories, and in the counts."""
    for name, call in CALLS.items():
        if name.startswith("store"):
            assert (await call(platform, user, session))["success"] is True
    answer = await platform.search_memories(user, "Where does Ada live?", ["factual", "episodic"])
    assert answer["memories"][0]["content"] == "Ada lives in Berlin"
    assert answer["count"] == len(answer["memories"]) == 2
    for memory_type, label in (("factual", "subject"), ("episodic", "event_type"), ("semantic", "category")):
        assert (await platform.search_by(memory_type, label, user, "Ada"))["count"] == 1
    active = await platform.get_active_working_memories(user)
    assert [memory["content"] for memory in active["memories"]] == ["Ada waits"]
    assert (await platform.get_session_context(user, session))["total_messages"] == 1
    assert (await platform.summarize_session(user, session))["summary"] == "user: Hi Ada"
    assert (await platform.get_memory_statistics(user))["total"] == 6


async def test_a_dialogue_may_belong_to_a_session(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Named beside the dialogue or inside its metadata; other fields are kept."""
    body = {"user_id": user, "dialog_content": "x", "metadata": {"session_id": session}, "task": "shopping"}
    for path in ("factual/extract", "working/store"):
        stored = (await client.post(f"/memories/{path}", json=body)).json()
        assert stored["session_id"] == session
        memory = (await client.get(f"/memories/{stored['memory_type']}/{stored['id']}")).json()
        assert memory["metadata"] == {"session_id": session, "task": "shopping"}
