"""The tools over MCP, through the official client and a real server, on both databases and in both revisions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

TOOLS = {
    "store_session_message",
    "get_session_context",
    "summarize_session",
    "store_factual_memory",
    "store_episodic_memory",
    "store_semantic_memory",
    "store_procedural_memory",
    "store_working_memory",
    "search_memories",
    "get_memory_statistics",
}


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("store_session_message", {"user_id": "u", "session_id": "a/b", "message_content": "x"}, "invalid_session_id"),
    ("store_session_message", {"session_id": "s", "message_content": "x"}, "user_id_required"),
    ("store_session_message", {"user_id": "u", "session_id": "s"}, "invalid_request"),
    ("store_session_message", {"user_id": "u", "session_id": "s", "message_content": "\0"}, "invalid_request"),
    ("store_factual_memory", {"user_id": "u", "content": "x", "ttl_seconds": 5}, "invalid_request"),
    ("store_factual_memory", {"user_id": "u", "content": "x", "context": {"session_id": 5}}, "invalid_session_id"),
    ("search_memories", {"user_id": "u", "q": "..."}, "invalid_request"),
    ("get_memory_statistics", {}, "user_id_required"),
]


@pytest.fixture(params=["legacy", LATEST_MODERN_VERSION])
def mode(request: pytest.FixtureRequest) -> str:
    """How the client speaks: with a handshake and a transport session, or with neither."""
    return str(request.param)


def client(server_url: str, mode: str = "auto") -> Client:
    return Client(f"{server_url}/mcp", mode=mode)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool and give what it gave, which stands in its answer twice: as text and as an object."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    return dict(result.structured_content)


async def test_the_tools_are_listed(server_url: str, mode: str) -> None:
    """Each with a description and the shapes of what it takes and gives."""
    async with client(server_url, mode) as speaking:
        spoken = speaking.session.protocol_version
        tools = (await speaking.list_tools()).tools
    assert spoken == (LATEST_HANDSHAKE_VERSION if mode == "legacy" else LATEST_MODERN_VERSION)
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.description
        assert "user_id" in tool.input_schema["required"]
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"


async def test_a_message_is_stored_and_comes_up(server_url: str, mode: str, user: str, session: str) -> None:
    """Store, summary, context: the life of a conversation."""
    named = {"user_id": user, "session_id": session}
    async with client(server_url, mode) as speaking:
        stored = await call(speaking, "store_session_message", **named, message_content="我在北京。")
        summary = await call(speaking, "summarize_session", **named)
        context = await call(speaking, "get_session_context", **named)
    assert (stored["success"], stored["session_id"]) == (True, session)
    assert summary["summary"] == context["summary"] == "user: 我在北京。"
    assert (context["session_found"], context["total_messages"]) == (True, 1)
    assert context["recent_messages"][0]["id"] == stored["id"]
    assert context["recent_messages"][0]["message_content"] == "我在北京。"


async def test_memories_are_stored_and_found(server_url: str, mode: str, user: str) -> None:
    """Each type has a tool; what it stored is found and counted."""
    types = ["factual", "episodic", "semantic", "procedural", "working"]
    async with client(server_url, mode) as speaking:
        for number, memory_type in enumerate(types, 1):
            ttl = {"ttl_seconds": 600} if memory_type == "working" else {}
            stored = await call(
                speaking, f"store_{memory_type}_memory", user_id=user, content="Ada likes tea", mood="calm", **ttl
            )
            assert (stored["memory_type"], stored["metadata"]) == (memory_type, {"mood": "calm"})
            assert (stored["expires_at"] is not None) == (memory_type == "working")
            page = await call(speaking, "search_memories", user_id=user, q="tea", types=[memory_type])
            assert page["memories"] == [stored]
            statistics = await call(speaking, "get_memory_statistics", user_id=user)
            assert (statistics["total"], statistics["by_type"][memory_type]) == (number, 1)


async def test_bad_arguments_are_refused(server_url: str, mode: str) -> None:
    """As over REST, in a result that a model can read and learn from."""
    async with client(server_url, mode) as speaking:
        for tool, arguments, reason in REFUSALS:
            result = await speaking.call_tool(tool, arguments)
            assert result.is_error
            refused = json.loads(result.content[0].text)
            assert refused == {"detail": refused["detail"], "reason": reason}


async def test_an_unknown_tool_is_an_error_of_the_protocol(server_url: str, mode: str) -> None:
    """There is nothing to learn from it but the name."""
    async with client(server_url, mode) as speaking:
        with pytest.raises(MCPError, match="there is no tool 'forget_everything'"):
            await speaking.call_tool("forget_everything", {})


async def test_a_client_finds_the_newest_revision_by_itself(server_url: str) -> None:
    """Asked what it speaks, the server names the newest revision."""
    async with client(server_url) as speaking:
        assert speaking.session.protocol_version == LATEST_MODERN_VERSION
