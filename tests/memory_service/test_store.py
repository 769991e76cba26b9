"""What the store promises beyond what its callers show, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

import memory_service
from memory_service.model import Compression, Memory, MemoryType
from memory_service.records import Summary, Which
from memory_service.store import Store
from service_kit.sql.database import Database
from tests.support.eventually import eventually
from tests.support.memories import SCHEMA, START

pytestmark = pytest.mark.asyncio(loop_scope="module")


def memory(user: str, memory_id: str, session_id: str | None = None) -> Memory:
    return Memory(
        id=memory_id,
        memory_type=MemoryType.FACTUAL if session_id is None else MemoryType.SESSION,
        user_id=user,
        session_id=session_id,
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


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
"""How many connections wait for a lock."""


@pytest.mark.parametrize("empty_database", ["postgres"], indirect=True)
async def test_a_summary_and_a_deactivation_wait_for_each_other_in_one_order(database_url: str, user: str) -> None:
    """Each locks the messages by their numbers, wherever in the table a change has put them: no deadlock ends one."""
    database = Database(database_url, SCHEMA)
    async with database.reading() as connection:
        # The plan for a session of many messages: by their place in the table.
        await connection.execute(text(f"ALTER DATABASE {database.engine.url.database} SET enable_indexscan = off"))
    await database.close()
    store = Store(database)
    said = [memory(user, f"{number}-{user[-33:]}", "s") for number in range(2)]
    for one in said:
        await store.add(one, START)
    moved = await store.change(said[0], {"content": "something else"}, START)
    assert moved is not None
    summary = Summary("something", Compression.MEDIUM, 2, START)
    async with database.reading() as looking:

        async def are_waiting(number: int) -> bool:
            return bool(await looking.scalar(text(WAITING)) == number)

        async with database.writing() as holding:
            await holding.execute(text("SELECT FROM memories WHERE id = :id FOR UPDATE"), {"id": moved.id})
            keeping = asyncio.create_task(store.keep_summary(user, "s", summary, [moved, said[1]]))
            await eventually(lambda: are_waiting(1))
            deactivating = asyncio.create_task(store.deactivate(user, "s", START))
            await eventually(lambda: are_waiting(2))
    await keeping
    assert await deactivating == 2
    await database.close()


async def test_no_line_knows_who_else_is_there() -> None:
    """The service does not ask whether a session exists: no module of it names a session service."""
    for file in Path(memory_service.__file__).parent.rglob("*.py"):
        source = file.read_text().lower()
        for word in ("session service", "session-service", "session_service", "8205", "httpx", "requests.get"):
            assert word not in source, (file, word)
