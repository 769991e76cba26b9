"""What the store promises beyond what its callers show, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import memory_service
from memory_service.model import Memory, MemoryType
from memory_service.store import Store, Which
from service_kit.database import Database
from tests.support.memories import SCHEMA, START

pytestmark = pytest.mark.asyncio(loop_scope="module")


def memory(user: str, memory_id: str) -> Memory:
    return Memory(
        id=memory_id,
        memory_type=MemoryType.FACTUAL,
        user_id=user,
        session_id=None,
        content="something",
        message_type=None,
        role=None,
        importance_score=0.5,
        context={},
        metadata={},
        active=True,
        expires_at=None,
        created_at=START,
        updated_at=START,
    )


async def test_a_repeated_store_keeps_one(database_url: str, user: str) -> None:
    """A call whose answer was lost may be repeated, also at the same instant."""
    database = Database(database_url, SCHEMA)
    store = Store(database)
    one = memory(user, user[-36:])
    await asyncio.gather(*(store.add(one, START) for _ in range(8)))
    found, rest = await store.page(Which(user), None, 10, START)
    await database.close()
    assert (found, rest) == ([one], None)


async def test_two_processes_share_a_database(database_url: str, user: str) -> None:
    """Writers of two engines wait for each other; nothing is lost or refused."""
    databases = [Database(database_url, SCHEMA) for _ in range(2)]
    stores = [Store(database) for database in databases]
    ids = [f"{number}-{user[-33:]}" for number in range(80)]
    await asyncio.gather(*(stores[number % 2].add(memory(user, one), START) for number, one in enumerate(ids)))
    found, _ = await stores[0].page(Which(user), None, 100, START)
    for database in databases:
        await database.close()
    assert sorted(one.id for one in found) == sorted(ids)


async def test_no_line_knows_who_else_is_there() -> None:
    """The service asks nobody whether a session exists: it has neither the words nor the means."""
    for file in Path(memory_service.__file__).parent.rglob("*.py"):
        text = file.read_text().lower()
        for word in ("session service", "session-service", "session_service", "8205", "httpx", "requests.get"):
            assert word not in text, (file, word)
