"""The schema, and taking over what an older service left behind, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from memory_service.migrations.old_rows import as_memory
from memory_service.search import matching, read_query
from memory_service.tables import metadata
from tests.support.memories import SCHEMA, memory_migrations
from tests.support.old_memories import BAD, GOOD, NAMES, USER, in_database, insert, make_many_rows, make_old_table
from tests.support.postgres import fresh_database
from tests.support.processes import Running

MEASURED = """
import resource
from memory_service.__main__ import main
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
main(["migrate"], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with fresh_database(request, tmp_path_factory.mktemp("database") / "memory.db") as made:
        yield made


def upgrade(url: str) -> None:
    asyncio.run(memory_migrations(url).move())


def downgrade(url: str, to: str) -> None:
    asyncio.run(memory_migrations(url).move(to))


def everything(url: str) -> dict[str, list[Any]]:
    """All rows that the migration is about, without the numbers they were given."""

    def read(connection: sa.Connection) -> dict[str, list[Any]]:
        found = {}
        for table in ("memories", "session_memories_quarantine"):
            rows = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY seq")).mappings()
            found[table] = [{name: value for name, value in row.items() if name != "seq"} for row in rows]
        return found

    return in_database(url, read)


def old_rows(url: str, table: str = "session_memories") -> Counter[str]:
    """The rows of the old table, in any order."""
    return in_database(
        url,
        lambda connection: Counter(
            repr(tuple(row)) for row in connection.execute(sa.text(f"SELECT {NAMES} FROM {table}"))
        ),
    )


def test_the_live_schema_is_the_one_that_queries_speak_of(url: str) -> None:
    """Every column has the type and the nullability that the code believes in."""
    upgrade(url)

    def compare(connection: sa.Connection) -> None:
        inspector = sa.inspect(connection)
        for table in metadata.tables.values():
            live = {column["name"]: column for column in inspector.get_columns(table.name)}
            assert list(live) == [column.name for column in table.columns]
            for column in table.columns:
                believed = column.type.compile(connection.dialect)
                assert live[column.name]["type"].compile(connection.dialect) == believed, column
                assert live[column.name]["nullable"] == column.nullable, column

    in_database(url, compare)


def test_migrating_twice_changes_nothing(url: str) -> None:
    """The second time there is nothing to do, and the schema counts as current."""
    upgrade(url)
    upgrade(url)
    assert asyncio.run(memory_migrations(url).is_current())


def test_an_empty_database_has_nothing_to_take_over(url: str) -> None:
    """Without an old table there are neither memories nor a backup, and the way down and up is free."""
    upgrade(url)
    assert everything(url) == {"memories": [], "session_memories_quarantine": []}
    downgrade(url, "base")
    assert in_database(url, lambda connection: sa.inspect(connection).get_table_names()) == ["memory_service_version"]
    upgrade(url)
    assert everything(url) == {"memories": [], "session_memories_quarantine": []}


def test_old_rows_become_memories_or_are_quarantined(url: str) -> None:
    """Counts add up: each row is in exactly one of the two places, the bad ones whole and with their reason."""
    in_database(url, make_old_table)
    upgrade(url)
    found = everything(url)
    kept, quarantined = found["memories"], found["session_memories_quarantine"]
    assert len(kept) + len(quarantined) == len(GOOD) + len(BAD) + 2
    assert sorted(row["session_id"] for row in kept) == sorted(GOOD)
    assert Counter(row["reason"] for row in quarantined) == {
        "session_id holds a character other than A-Z a-z 0-9 . _ ~ : @ | + = -": 3,
        "session_id is a dot segment": 1,
        "session_id is empty": 1,
        "user_id is missing": 1,
        "id occurs more than once": 1,
    }
    whole = next(row for row in map(as_object, quarantined) if row["session_id"] == "会话")
    assert (whole["content"], whole["strict"], whole["user_id"]) == ("text 12 北京", "kept", USER)


def as_object(row: dict[str, Any]) -> dict[str, Any]:
    old = row["old_row"]
    return dict(json.loads(old)) if isinstance(old, str) else dict(old)


def test_an_old_row_keeps_all_it_says(url: str) -> None:
    """Familiar columns become fields, the others stand in the metadata; the oldest comes first."""
    in_database(url, make_old_table)
    upgrade(url)
    rows = in_database(
        url, lambda connection: connection.execute(sa.select(metadata.tables["memories"])).mappings().all()
    )
    assert [row["session_id"] for row in sorted(rows, key=lambda row: row["seq"])] == GOOD[::-1]
    second = next(row for row in rows if row["id"] == str(uuid.UUID(int=1001)))
    topics = second["metadata"]["session_memories"].pop("topics")
    assert (json.loads(topics) if isinstance(topics, str) else topics) == {"topic": [1, None]}
    assert second["metadata"]["session_memories"].pop("payload") in {"00ff", "\\x00ff"}
    assert {name: value for name, value in second.items() if name not in {"seq", "search_terms"}} == {
        "id": str(uuid.UUID(int=1001)),
        "memory_type": "session",
        "user_id": USER,
        "session_id": "session_1",
        "content": "text 1 北京",
        "message_type": "human",
        "role": "assistant",
        "importance_score": 0.7,
        "context": {},
        "metadata": {"session_memories": {"strict": "kept"}},
        "active": False,
        "expires_at": None,
        "created_at": dt.datetime(2025, 10, 8, 19, 46, 58, tzinfo=dt.UTC),
        "updated_at": dt.datetime(2025, 10, 8, 19, 46, 58, tzinfo=dt.UTC),
    }


@pytest.mark.parametrize("to", ["r0001", "base"])
def test_the_way_down_and_up_again_keeps_the_data(url: str, to: str) -> None:
    """Going down gives the old table back as it was; going up again comes to the same."""
    in_database(url, make_old_table)
    before = old_rows(url)
    upgrade(url)
    taken_over = everything(url)
    downgrade(url, to)
    assert old_rows(url) == before
    upgrade(url)
    assert everything(url) == taken_over
    upgrade(url)
    assert everything(url) == taken_over
    assert old_rows(url, "session_memories_before") == before


@pytest.mark.parametrize("to", ["r0001", "base"])
def test_what_was_stored_since_survives_the_way_down(url: str, to: str) -> None:
    """Memories that the old shape has no words for are not thrown away, and new ones get new numbers."""
    upgrade(url)
    memory = as_memory({"id": "a", "session_id": "s", "user_id": "no uuid"}, dt.datetime.now(dt.UTC))
    store = sa.insert(metadata.tables["memories"])
    in_database(url, lambda connection: connection.execute(store, memory))
    before = everything(url)
    downgrade(url, to)
    upgrade(url)
    assert everything(url) == before
    in_database(url, lambda connection: connection.execute(store, {**memory, "id": "b"}))
    assert [row["id"] for row in everything(url)["memories"]] == ["a", "b"]


def test_the_way_up_again_brings_what_came_between(url: str) -> None:
    """Rows that the older service added are taken over; what was deleted or changed since does not come back."""
    in_database(url, make_old_table)
    upgrade(url)
    gone, changed, new = (str(uuid.UUID(int=1000 + number)) for number in (2, 3, 50))
    in_database(url, lambda connection: connection.exec_driver_sql(f"DELETE FROM memories WHERE id = '{gone}'"))
    in_database(
        url, lambda connection: connection.exec_driver_sql(f"UPDATE memories SET role = 'r' WHERE id = '{changed}'")
    )
    downgrade(url, "r0001")
    in_database(url, lambda connection: insert(connection, 50, "between"))
    upgrade(url)
    memories = {row["id"]: row for row in everything(url)["memories"]}
    assert gone not in memories
    assert memories[changed]["role"] == "r"
    assert memories[new]["session_id"] == "between"
    assert len(memories) == len(GOOD)


def test_rows_are_moved_batch_by_batch(url: str) -> None:
    """Many batches come to the same as one: every row once, the oldest first, and all of them found."""
    in_database(url, lambda connection: make_many_rows(connection, 2_345))
    upgrade(url)
    rows = everything(url)["memories"]
    assert [row["content"] for row in rows] == [f"message {number} 北京" for number in range(2_345) if number % 100]
    assert len(everything(url)["session_memories_quarantine"]) == 24

    def found(connection: sa.Connection) -> int:
        query = matching(read_query("北京 2344"), metadata.tables["memories"], connection.dialect)
        return connection.execute(sa.select(sa.func.count()).where(query)).scalar_one()

    assert in_database(url, found) == 1


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_million_rows_are_moved_in_little_memory(url: str, tmp_path: Path) -> None:
    """In one go, without holding them in memory: what a process needs besides its code is a few megabytes."""
    in_database(url, lambda connection: make_many_rows(connection, 1_000_000))
    finished = Running([sys.executable, "-c", MEASURED], {"MEMORY_DATABASE_URL": url}, tmp_path)
    assert finished.process.wait(3_500) == 0
    finished.wait()
    finished.close()
    before, after = map(int, finished.stdout)
    assert after - before < 60 * 1024, f"grew from {before} to {after} KiB"
    counts = in_database(
        url,
        lambda connection: [
            connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("memories", "session_memories_quarantine", "session_memories_before")
        ],
    )
    assert counts == [990_000, 10_000, 1_000_000]


def test_a_table_of_another_kind_is_left_alone(url: str) -> None:
    """A table of that name without its columns belongs to another program."""

    def make(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.exec_driver_sql("CREATE TABLE session_memories (something TEXT)")

    in_database(url, make)
    upgrade(url)
    downgrade(url, "base")
    rows = in_database(url, lambda one: one.exec_driver_sql("SELECT something FROM session_memories").fetchall())
    assert rows == []
