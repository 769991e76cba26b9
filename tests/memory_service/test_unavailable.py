"""The answers while the database is away, and that calls work as before when it is back."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from mcp import Client

from memory_service.app import MemoryApp
from memory_service.mcp import memory_server
from memory_service.service import MemoryService
from memory_service.store import Store
from service_kit.sql.database import Database
from tests.support.memories import SCHEMA, memory_migrations
from tests.support.postgres import PostgresServer

MESSAGE = {"user_id": "u", "session_id": "s", "message_content": "hello"}


@pytest.fixture
async def unreachable() -> AsyncIterator[Database]:
    """A database address where no process listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        database = Database(f"postgresql://127.0.0.1:{nobody.getsockname()[1]}/x", SCHEMA)
        yield database
        await database.close()


def client_of(database: Database) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(MemoryApp(database).app)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_every_call_says_that_the_database_is_away(unreachable: Database) -> None:
    """503 with the reason and when to come again, for reads, writes and the health."""
    async with client_of(unreachable) as client:
        for response in (
            await client.post("/api/v1/memories/session/store", json=MESSAGE),
            await client.get("/api/v1/memories", params={"user_id": "u"}),
            await client.get("/health"),
        ):
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert response.json()["reason"] == "database_unavailable"


async def test_a_tool_says_that_the_database_is_away(unreachable: Database) -> None:
    """In a result, like any other failure."""
    async with Client(memory_server(MemoryService(Store(unreachable)), "1")) as client:
        result = await client.call_tool("store_session_message", MESSAGE)
    assert result.is_error
    assert json.loads(result.content[0].text)["reason"] == "database_unavailable"


async def test_a_restarted_database_is_not_noticed(postgres: PostgresServer) -> None:
    """Connections that broke in the pool are replaced, and what was being stored is stored once."""
    name = f"test_restarted_{id(postgres)}"
    await postgres.execute(f'CREATE DATABASE "{name}"')
    url = postgres.url(name)
    await memory_migrations(url).move()
    database = Database(url, SCHEMA)
    async with client_of(database) as client:
        assert (await client.post("/api/v1/memories/session/store", json=MESSAGE)).status_code == 200
        await postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert (await client.get("/health")).status_code == 200
        await postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert (await client.post("/api/v1/memories/session/store", json=MESSAGE)).status_code == 200
        await postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        context = await client.get("/api/v1/memories/session/s/context", params={"user_id": "u"})
        assert context.json()["total_messages"] == 2
    await database.close()
    await postgres.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
