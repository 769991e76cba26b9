"""MCP on the wire: which client gets which kind of answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_MODERN_VERSION
from starlette.types import Receive, Scope, Send

from memory_service.app import MemoryApp
from service_kit.process.serving import ENDLESS
from service_kit.sql.database import Database
from service_kit.web.application import LARGEST_BODY
from tests.support.memories import SCHEMA, memory_migrations
from tests.support.servers import served

BOTH = "application/json, text/event-stream"
CLIENT = {"name": "test", "version": "1"}


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server serves MCP; what the tools do is tested elsewhere."""
    url = f"sqlite:///{tmp_path_factory.mktemp('database')}/memory.db"
    asyncio.run(memory_migrations(url).move())
    with served(MemoryApp(Database(url, SCHEMA)).app, lifespan="on") as served_at:
        yield served_at


@pytest.fixture
def http(server_url: str) -> Iterator[httpx.Client]:
    """Speaks to it without any understanding of MCP."""
    with httpx.Client(base_url=server_url, timeout=30, trust_env=False) as client:
        yield client


def request(method: str, params: dict[str, Any] | None = None, number: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}


def initialize(revision: str) -> dict[str, Any]:
    return request("initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT})


def answer(response: httpx.Response) -> Any:
    """The JSON-RPC answer, whether it came as JSON or as the one event of a stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        assert len(data) == 1
        return json.loads(data[0])
    return response.json()


@pytest.mark.parametrize("revision", HANDSHAKE_PROTOCOL_VERSIONS)
def test_a_client_that_initializes_gets_a_session(http: httpx.Client, revision: str) -> None:
    """Its id names the session from then on, and ends with it."""
    opened = http.post("/mcp", json=initialize(revision), headers={"accept": BOTH})
    assert answer(opened)["result"]["protocolVersion"] == revision
    headers = {"accept": BOTH, "mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": revision}
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert http.post("/mcp", json=initialized, headers=headers).status_code == 202
    listed = http.post("/mcp", json=request("tools/list"), headers=headers)
    assert listed.headers["mcp-session-id"] == headers["mcp-session-id"]
    assert len(answer(listed)["result"]["tools"]) == 10
    assert http.delete("/mcp", headers=headers).status_code == 200
    assert http.post("/mcp", json=request("tools/list"), headers=headers).status_code == 404


def test_the_server_is_told_that_a_stream_has_no_end(tmp_path: Path) -> None:
    """So it cuts the stream off when it stops and the client does not read."""
    url = f"sqlite:///{tmp_path}/memory.db"
    asyncio.run(memory_migrations(url).move())
    app, scopes = MemoryApp(Database(url, SCHEMA)).app, []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await app(scope, receive, send)

    with served(watched, lifespan="on") as base_url, httpx.Client(base_url=base_url, trust_env=False) as http:
        opened = http.post("/mcp", json=initialize("2025-11-25"), headers={"accept": BOTH})
        headers = {"accept": "text/event-stream", "mcp-session-id": opened.headers["mcp-session-id"]}
        with http.stream("GET", "/mcp", headers=headers) as stream:
            assert stream.status_code == 200
    assert [ENDLESS in scope for scope in scopes if scope["type"] == "http"] == [False, True]


def test_a_client_without_a_session_is_served(http: httpx.Client) -> None:
    """A client can call a tool without initializing."""
    response = http.post("/mcp", json=request("tools/list"), headers={"accept": BOTH})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "mcp-session-id" not in response.headers
    assert len(answer(response)["result"]["tools"]) == 10


@pytest.mark.parametrize("method", ["initialize", "tools/list"])
def test_a_client_that_takes_no_stream_is_answered_in_json(http: httpx.Client, method: str) -> None:
    """It says so by what it accepts."""
    body = initialize("2025-11-25") if method == "initialize" else request(method)
    for session in ({}, {"mcp-session-id": "unknown"}):
        response = http.post("/mcp", json=body, headers={"accept": "application/json", **session})
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert "result" in response.json()


@pytest.mark.parametrize("accept", [BOTH, "application/json"])
def test_the_newest_revision_needs_neither_handshake_nor_session(http: httpx.Client, accept: str) -> None:
    """One request says all there is to say."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": LATEST_MODERN_VERSION,
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    arguments = {"user_id": "u"}
    body = request("tools/call", {"name": "get_memory_statistics", "arguments": arguments, "_meta": meta})
    headers = {
        "accept": accept,
        "mcp-protocol-version": LATEST_MODERN_VERSION,
        "mcp-method": "tools/call",
        "mcp-name": "get_memory_statistics",
    }
    response = http.post("/mcp", json=body, headers=headers)
    assert response.status_code == 200, response.text
    assert "mcp-session-id" not in response.headers
    assert answer(response)["result"]["structuredContent"]["total"] == 0
    mismatched = http.post("/mcp", json=body, headers={**headers, "mcp-name": "search_memories"})
    assert mismatched.status_code == 400


@pytest.mark.parametrize("session", [False, True])
def test_any_host_is_served(http: httpx.Client, session: bool) -> None:
    """A reverse proxy passes on the Host that its clients used, and browsers name their origin."""
    headers = {"accept": BOTH, "host": "memory.example.com", "origin": "https://app.example.com"}
    body = initialize("2025-11-25") if session else request("tools/list")
    assert http.post("/mcp", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("content", [b"{", b"[]", b'"initialize"'])
def test_what_is_no_message_is_refused(http: httpx.Client, content: bytes) -> None:
    """Unreadable, or no object."""
    headers = {"accept": BOTH, "content-type": "application/json"}
    assert http.post("/mcp", content=content, headers=headers).status_code == 400


@pytest.mark.parametrize("accept", [BOTH, "application/json"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused_as_over_rest(http: httpx.Client, accept: str, declared: bool) -> None:
    """With a problem, whether its length was declared or not."""
    content = b" " * (LARGEST_BODY + 1)
    headers = {"accept": accept, "content-type": "application/json"}
    response = http.post("/mcp", content=content if declared else iter([content]), headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (413, "application/problem+json")
    assert response.json()["reason"] == "body_too_large"


def test_a_body_may_be_as_large_as_over_rest(http: httpx.Client) -> None:
    """Megabytes in one argument arrive."""
    arguments = {"user_id": "u", "session_id": "s", "message_content": "x" * (5 << 20)}
    body = request("tools/call", {"name": "store_session_message", "arguments": arguments})
    response = http.post("/mcp", json=body, headers={"accept": "application/json"})
    assert response.json()["result"]["structuredContent"]["success"] is True
