"""From the old shape to the new, and back, on both databases."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service_kit.ids import unsafe_because
from service_kit.sql.database import Database
from service_kit.sql.engine import create_engine, is_sqlite
from session_service.events import EventLog
from session_service.model import Wanted
from session_service.settings import VERSION_TABLE
from session_service.store import Store
from tests.session_service.conftest import SCHEMA, migrations
from tests.support.postgres import fresh_database

OLD_SHAPE = {
    "sqlite": "CREATE TABLE sessions"
    " (id INTEGER PRIMARY KEY, session_id VARCHAR(255) UNIQUE NOT NULL, user_id VARCHAR(255))",
    "postgresql": "CREATE TABLE dev.sessions"
    " (id SERIAL PRIMARY KEY, session_id VARCHAR(255) UNIQUE NOT NULL, user_id VARCHAR(255))",
}
MORE_COLUMNS = {
    "sqlite": "CREATE TABLE sessions (id INTEGER PRIMARY KEY, session_id VARCHAR(255) UNIQUE NOT NULL,"
    " user_id VARCHAR(255), status VARCHAR(50) DEFAULT 'active', conversation_data JSON, metadata TEXT,"
    " message_count INTEGER NOT NULL, created_at TIMESTAMP, updated_at INTEGER)",
    "postgresql": "CREATE TABLE dev.sessions (id SERIAL PRIMARY KEY, session_id VARCHAR(255) UNIQUE NOT NULL,"
    " user_id VARCHAR(255), status VARCHAR(50) DEFAULT 'active', conversation_data JSONB, metadata TEXT,"
    " message_count INTEGER NOT NULL, created_at TIMESTAMP, updated_at INTEGER)",
}
GOOD = [
    ("plain", "ann"),
    (str(uuid.uuid4()), str(uuid.uuid4())),
    ("A.b_c~d:e@f|g+h=i-j", "auth0|abc"),
    ("x" * 255, "u"),
]
BAD = [
    ("has space", "ann", "invalid_session_id"),
    ("", "ann", "invalid_session_id"),
    ("..", "ann", "invalid_session_id"),
    ("newline\n", "ann", "invalid_session_id"),
    ("你好", "ann", "invalid_session_id"),
    ("a/b", None, "invalid_session_id"),
    ("nobody", None, "user_id_required"),
    ("emptied", "", "invalid_user_id"),
    ("umlaut", "jürgen", "invalid_user_id"),
    ("dot", ".", "invalid_user_id"),
]

MIGRATE_AND_WEIGH = """
import asyncio, resource, sys
from service_kit.sql.migrations import Migrations
asyncio.run(Migrations("session_service", sys.argv[1], sys.argv[2], sys.argv[3]).move())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of this test alone."""
    with fresh_database(request, tmp_path / "sessions.db") as made:
        yield made


async def make_old(url: str, shapes: dict[str, str]) -> None:
    async def make(connection: AsyncConnection) -> None:
        if not is_sqlite(connection):
            await connection.exec_driver_sql("CREATE SCHEMA dev")
        await connection.exec_driver_sql(shapes[connection.dialect.name])

    await doing(url, make)


async def doing(url: str, work: Any) -> Any:
    """One transaction on connections of its own: prepared statements do not outlive a change of the schema."""
    database = Database(url, SCHEMA)
    try:
        async with database.writing() as connection:
            return await work(connection)
    finally:
        await database.close()


async def add_rows(url: str, rows: list[dict[str, Any]]) -> None:
    table = sa.table("sessions", *(sa.column(name) for name in rows[0]))
    await doing(url, lambda connection: connection.execute(sa.insert(table), rows))


async def rows_of(url: str, table: str) -> list[dict[str, Any]]:
    async def read(connection: AsyncConnection) -> list[dict[str, Any]]:
        rows = await connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id"))
        return [dict(row) for row in rows.mappings()]

    return await doing(url, read)


async def _all(connection: AsyncConnection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.execute(sa.text(query))]


async def data_of(url: str, table: str) -> list[dict[str, Any]]:
    """The rows without their numbers, which mean nothing outside the table."""
    rows = [{name: value for name, value in row.items() if name != "id"} for row in await rows_of(url, table)]
    return sorted(rows, key=lambda row: str(row["session_id"]))


async def shape_of(url: str, table: str) -> dict[str, tuple[str, bool]]:
    def inspect(connection: sa.Connection) -> dict[str, tuple[str, bool]]:
        columns = sa.inspect(connection).get_columns(table)
        return {column["name"]: (str(column["type"]), column["nullable"]) for column in columns}

    return await doing(url, lambda connection: connection.run_sync(inspect))


async def test_every_row_of_the_old_shape_is_kept_or_quarantined(url: str) -> None:
    """Good rows become sessions, bad ones lie in quarantine with the reason, and the counts add up."""
    await make_old(url, OLD_SHAPE)
    old = [{"session_id": session, "user_id": user} for session, user in GOOD + [(one, two) for one, two, _ in BAD]]
    await add_rows(url, old)
    await migrations(url).move()
    kept, quarantined = await rows_of(url, "sessions"), await rows_of(url, "sessions_quarantine")
    assert [(row["session_id"], row["user_id"], row["status"]) for row in kept] == [(*pair, "active") for pair in GOOD]
    assert [(row["session_id"], row["user_id"], row["quarantine_reason"]) for row in quarantined] == BAD
    assert len(kept) + len(quarantined) == len(old)


async def test_migrating_twice_changes_nothing(url: str) -> None:
    """The second run finds nothing to do."""
    await make_old(url, OLD_SHAPE)
    await add_rows(
        url,
        [{"session_id": session, "user_id": user} for session, user, _ in BAD]
        + [{"session_id": "good", "user_id": "ann"}],
    )
    await migrations(url).move()
    before = [await rows_of(url, table) for table in ("sessions", "sessions_quarantine")]
    await migrations(url).move()
    assert [await rows_of(url, table) for table in ("sessions", "sessions_quarantine")] == before


@pytest.mark.parametrize("shape", [OLD_SHAPE, MORE_COLUMNS], ids=["bare", "more-columns"])
async def test_down_and_up_again_gives_the_same_data(url: str, shape: dict[str, str]) -> None:
    """Nothing is lost on the way back: tombstones, ended sessions and quarantined rows come out as they were."""
    await make_old(url, shape)
    rows: list[dict[str, Any]] = [{"session_id": session, "user_id": user} for session, user in GOOD]
    rows += [{"session_id": session, "user_id": user} for session, user, _ in BAD]
    if shape is MORE_COLUMNS:
        rows = [{**row, "message_count": number, "status": "Closed"} for number, row in enumerate(rows)]
    await add_rows(url, rows)
    await migrations(url).move()
    database = Database(url, SCHEMA)
    store = Store(database, EventLog(database))
    await store.ensure([Wanted("new", "bob", metadata={"a": [1]}), Wanted("ended", "bob"), Wanted("deleted", "bob")])
    await store.end("ended")
    await store.delete("deleted")
    await database.close()
    tables = ("sessions", "sessions_quarantine")
    before = [await data_of(url, table) for table in tables]
    shapes = [await shape_of(url, table) for table in tables]
    for revision in ("r0002", "r0001", "base"):
        await migrations(url).move(revision)
    old_rows = await rows_of(url, "sessions")
    assert {row["session_id"] for row in old_rows} == {row["session_id"] for row in rows} | {"new", "ended"}
    await migrations(url).move()
    assert [await data_of(url, table) for table in tables] == before
    assert [await shape_of(url, table) for table in tables] == shapes


async def test_foreign_columns_are_kept_and_refuse_no_new_rows(url: str) -> None:
    """A status in other words is renamed, a value that is no JSON is set aside, and unknown columns stay."""
    await make_old(url, MORE_COLUMNS)
    await add_rows(
        url,
        [
            {"session_id": "a", "user_id": "u", "status": "active", "metadata": "free text", "message_count": 3},
            {"session_id": "b", "user_id": "u", "status": "Deleted", "metadata": None, "message_count": 4},
            {"session_id": "c", "user_id": "u", "status": "completed", "metadata": None, "message_count": 5},
        ],
    )
    await migrations(url).move()
    rows = await rows_of(url, "sessions")
    assert [row["status"] for row in rows] == ["active", "deleted", "ended"]
    assert [row["old_status"] for row in rows] == ["active", "Deleted", "completed"]
    assert await doing(url, lambda one: _all(one, "SELECT * FROM session_values_quarantine")) == [
        ("a", "metadata", "unreadable_metadata", "free text")
    ]
    assert [row["message_count"] for row in rows] == [3, 4, 5]
    database = Database(url, SCHEMA)
    await Store(database, EventLog(database)).ensure([Wanted("new", "u", metadata={"n": 1})])
    (session,) = await Store(database, EventLog(database)).get(["a"])
    await database.close()
    assert session is not None
    assert (session.metadata, session.conversation_data) == ({}, {})


async def test_values_that_fit_are_taken_over(url: str) -> None:
    """JSON and times of the old rows are what the API shows afterwards."""
    await make_old(url, MORE_COLUMNS)
    data = json.dumps({"topic": "茶"})
    cast = "CAST(:data AS JSONB)" if url.startswith("postgres") else ":data"
    insert = (
        "INSERT INTO sessions (session_id, user_id, message_count, conversation_data, created_at)"
        f" VALUES ('a', 'u', 0, {cast}, '2025-01-02 03:04:05')"
    )
    await doing(url, lambda connection: connection.execute(sa.text(insert), {"data": data}))
    await migrations(url).move()
    database = Database(url, SCHEMA)
    (session,) = await Store(database, EventLog(database)).get(["a"])
    await database.close()
    assert session is not None
    assert session.conversation_data == {"topic": "茶"}
    assert session.created_at.isoformat() == "2025-01-02T03:04:05+00:00"


async def test_a_fresh_database_has_the_same_shape_as_a_migrated_one(url: str, tmp_path: Path) -> None:
    """Where a table comes from makes no difference to its columns."""
    await migrations(url).move()
    fresh = await shape_of(url, "sessions")
    await migrations(url).move("base")
    assert not await doing(url, lambda one: one.run_sync(lambda sync: sa.inspect(sync).has_table("sessions")))
    await doing(url, lambda connection: connection.exec_driver_sql(OLD_SHAPE[connection.dialect.name]))
    await migrations(url).move()
    assert await shape_of(url, "sessions") == fresh
    assert fresh["session_id"] == fresh["user_id"] == ("VARCHAR(255)", False)


async def test_several_processes_may_migrate_at_once(url: str) -> None:
    """One does it, the others wait and find it done."""
    await asyncio.gather(*(migrations(url).move() for _ in range(4)))
    assert await migrations(url).is_current()


async def test_sql_and_python_agree_on_the_grammar(url: str) -> None:
    """The rows that the migration keeps are exactly those whose ids the API accepts."""
    texts = ["a", "a" * 255, "", ".", "..", "...", "A-Z_~:@|+=.", "ä", "Å", "ﬁ", "%61", "\u200b", "Ａ", "١"]
    texts += [f"a{character}" for character in map(chr, range(1, 128))]
    await make_old(url, OLD_SHAPE)
    await add_rows(url, [{"session_id": text, "user_id": "ann"} for text in texts])
    await migrations(url).move()
    kept = {row["session_id"] for row in await rows_of(url, "sessions")}
    assert kept == {text for text in texts if unsafe_because(text) is None}


async def test_sqlite_keeps_no_id_that_is_longer_than_its_column_says(tmp_path: Path) -> None:
    """SQLite lets a VARCHAR(255) hold more, and a NUL in it ends no text."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    await make_old(url, OLD_SHAPE)
    await add_rows(url, [{"session_id": text, "user_id": "ann"} for text in ("a" * 256, "a\0b", "good")])
    await migrations(url).move()
    assert [row["session_id"] for row in await rows_of(url, "sessions")] == ["good"]


@pytest.mark.long
async def test_a_million_rows_are_migrated_without_being_held_in_memory(url: str, tmp_path: Path) -> None:
    """The process that migrates stays small, however large the table is."""
    count = 1_000_000
    await make_old(url, OLD_SHAPE)
    numbers = {
        "sqlite": f"WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {count}) SELECT n FROM g",
        "postgresql": f"SELECT n FROM generate_series(1, {count}) AS n",
    }

    async def fill(connection: AsyncConnection) -> None:
        named = "CASE WHEN n % 1000 = 0 THEN 'bad id ' ELSE 'good-' END || n"
        source = numbers[connection.dialect.name]
        await connection.exec_driver_sql(
            f"INSERT INTO sessions (session_id, user_id) SELECT {named}, 'user-' || n FROM ({source}) AS numbers"
        )

    database = Database(url, SCHEMA)
    long_lived = create_engine(url, SCHEMA, statement_wait=None)
    async with long_lived.begin() as connection:
        await fill(connection)
    await long_lived.dispose()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MIGRATE_AND_WEIGH, url, SCHEMA, VERSION_TABLE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert int(output) < 150 << 20
    async with database.reading() as connection:
        counts = [
            (await connection.execute(sa.text(f"SELECT count(*) FROM {table}"))).scalar_one()
            for table in ("sessions", "sessions_quarantine")
        ]
    await database.close()
    assert counts == [count - count // 1000, count // 1000]
