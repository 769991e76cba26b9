"""Old databases of other shapes, on both databases: nothing is lost that is not named with its reason."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from memory_service.app import MemoryApp
from service_kit.sql.database import Database
from tests.support.memories import SCHEMA, memory_migrations
from tests.support.old_memories import in_database
from tests.support.postgres import fresh_database


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with fresh_database(request, tmp_path_factory.mktemp("database") / "memory.db") as made:
        if made.startswith("postgres"):
            in_database(made, lambda connection: connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}"))
        yield made


@pytest.fixture
def sqlite_url(url: str) -> str:
    """The same, on SQLite alone: Postgres would not store what the test is about."""
    if not url.startswith("sqlite"):
        pytest.skip("Postgres stores no such value")
    return url


@pytest.fixture
def postgres_url(url: str) -> str:
    """The same, on Postgres alone: SQLite has no such type."""
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no such type")
    return url


def run(url: str, *statements: str) -> None:
    def work(connection: sa.Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    in_database(url, work)


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    return in_database(url, lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)])


def upgrade(url: str) -> None:
    asyncio.run(memory_migrations(url).move())


def downgrade(url: str, to: str) -> None:
    asyncio.run(memory_migrations(url).move(to))


def listed(url: str, user: str) -> list[str]:
    """The contents of a user's memories as the service lists them, the oldest first."""

    async def ask() -> list[str]:
        database = Database(url, SCHEMA)
        transport = httpx.ASGITransport(MemoryApp(database).app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            response = await client.get("/api/v1/memories", params={"user_id": user, "limit": 100})
        await database.close()
        assert response.status_code == 200, response.text
        return [memory["content"] for memory in response.json()["memories"]][::-1]

    return asyncio.run(ask())


def test_rows_are_ordered_by_the_time_they_tell(url: str) -> None:
    """Spellings of a time sort otherwise as text; equal times, and times that cannot be read, by the row."""
    times = [
        ("fourth", "2025-09-01T08:00:02Z"),
        ("first", "2025-09-01T10:00:00+02:00"),
        ("third", "2025-09-01 08:00:01"),
        ("fifth", "2025/09/01 08:01"),
        ("second", "2025-09-01T08:00:00Z"),
        ("last", "once"),
        ("sixth", "1788249600"),
        ("seventh", "1788249600000"),
    ]
    run(
        url,
        "CREATE TABLE session_memories (id TEXT, session_id TEXT, user_id TEXT, content TEXT, created_at TEXT)",
        *(f"INSERT INTO session_memories VALUES ('{uuid.uuid4()}', 's', 'u', '{name}', '{at}')" for name, at in times),
    )
    upgrade(url)
    assert listed(url, "u") == ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "last"]


def test_a_table_without_a_row_number_is_taken_over(sqlite_url: str) -> None:
    """SQLite's tables may have none; equal times then follow the key."""
    run(
        sqlite_url,
        "CREATE TABLE session_memories (id TEXT PRIMARY KEY, session_id TEXT, user_id TEXT, content TEXT)"
        " WITHOUT ROWID",
        "INSERT INTO session_memories VALUES ('b', 's', 'u', 'two'), ('a', 's', 'u', 'one')",
    )
    upgrade(sqlite_url)
    assert listed(sqlite_url, "u") == ["one", "two"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("id INTEGER, ", ["7, ", "8, "]),
        ("id BIGINT PRIMARY KEY, ", ["7, ", "8, "]),
        ("id TEXT, ", ["'mem_1', ", "'mem_2', "]),
        ("id TEXT, ", [f"'{'m' * 80}', ", f"'{'n' * 80}', "]),
        ("id TEXT, ", ["NULL, ", "NULL, "]),
        ("", ["", ""]),
    ],
)
def test_rows_need_no_uuid(url: str, column: str, values: list[str]) -> None:
    """Numbers, other names, none at all: every row is a memory, and only once however often one migrates."""
    run(
        url,
        f"CREATE TABLE session_memories ({column}session_id TEXT, user_id TEXT, content TEXT)",
        f"INSERT INTO session_memories VALUES ({values[0]}'s', 'u', 'one'), ({values[1]}'s', 'u', 'two')",
    )
    upgrade(url)
    assert listed(url, "u") == ["one", "two"]
    assert rows(url, "SELECT count(*) FROM session_memories_quarantine") == [(0,)]
    downgrade(url, "r0001")
    assert rows(url, "SELECT content FROM session_memories ORDER BY content") == [("one",), ("two",)]
    upgrade(url)
    assert listed(url, "u") == ["one", "two"]


def test_ids_of_other_types_become_text(url: str) -> None:
    """Numbers that were ids are the same ids as text."""
    run(
        url,
        "CREATE TABLE session_memories (id INTEGER, session_id BIGINT, user_id INTEGER, content TEXT)",
        "INSERT INTO session_memories VALUES (1, 20251008, 42, 'kept')",
    )
    upgrade(url)
    assert listed(url, "42") == ["kept"]
    assert rows(url, "SELECT id, session_id, user_id FROM memories") == [("1", "20251008", "42")]


def test_a_row_that_is_there_twice_is_named(url: str) -> None:
    """The first is kept; the others are in quarantine with their id and the reason."""
    run(
        url,
        "CREATE TABLE session_memories (id INTEGER, session_id TEXT, user_id TEXT, content TEXT)",
        "INSERT INTO session_memories VALUES (7, 's', 'u', 'one'), (7, 's', 'u', 'two'), (7, 's', 'u', 'three')",
    )
    upgrade(url)
    assert listed(url, "u") == ["one"]
    quarantined = rows(url, "SELECT id, reason, old_row FROM session_memories_quarantine ORDER BY seq")
    assert [(row[0], row[1]) for row in quarantined] == [("7", "id occurs more than once")] * 2
    whole = [json.loads(row[2]) if isinstance(row[2], str) else row[2] for row in quarantined]
    assert [row["content"] for row in whole] == ["two", "three"]


@pytest.mark.parametrize("table", ["session_summaries", "memories"])
def test_a_table_of_another_program_is_kept(url: str, table: str) -> None:
    """A name that is taken is no reason to fail; the table stays as it is under another name, and can be had back."""
    run(
        url,
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, session_id TEXT, something TEXT)",
        f"INSERT INTO {table} VALUES (1, 's', 'precious')",
    )
    upgrade(url)
    assert rows(url, f"SELECT * FROM {table}_before") == [(1, "s", "precious")]
    assert listed(url, "u") == []
    upgrade(url)
    downgrade(url, "base")
    assert rows(url, f"SELECT * FROM {table}") == [(1, "s", "precious")]
    upgrade(url)
    assert rows(url, f"SELECT * FROM {table}_before") == [(1, "s", "precious")]


def test_rows_that_others_refer_to_are_moved(url: str) -> None:
    """Foreign keys, also to a row that goes into quarantine, neither stop the migration nor lose a row."""
    run(
        url,
        "CREATE TABLE session_memories (id INTEGER PRIMARY KEY, session_id TEXT, user_id TEXT, content TEXT)",
        "CREATE TABLE notes (memory_id INTEGER REFERENCES session_memories (id) ON DELETE CASCADE, note TEXT)",
        "INSERT INTO session_memories VALUES (1, 's', 'u', 'good'), (2, 'a/b', 'u', 'broken')",
        "INSERT INTO notes VALUES (1, 'of good'), (2, 'of broken')",
    )
    upgrade(url)
    assert listed(url, "u") == ["good"]
    assert rows(url, "SELECT count(*) FROM session_memories_quarantine") == [(1,)]
    assert rows(url, "SELECT count(*) FROM notes JOIN session_memories_before ON id = memory_id") == [(2,)]


def test_values_that_cannot_be_read_stand_in_no_ones_way(url: str) -> None:
    """The row is kept with what can be read, the rest as it was in the metadata; every page that lists it answers."""
    run(
        url,
        "CREATE TABLE session_memories (id TEXT, session_id TEXT, user_id TEXT, content TEXT, metadata TEXT,"
        " created_at TEXT, updated_at TEXT)",
        *(
            f"INSERT INTO session_memories VALUES ('{number}', 's', 'u', 'm{number}', '{metadata}', '{at}', '{at}')"
            for number, (metadata, at) in enumerate(
                [
                    ("{''a'': 1}", "1725177600"),
                    ("", "2024/09/01 09:00"),
                    ('{"a": NaN}', "2024-09-01T10:00:00"),
                    ('{"a": "\\ud800"}', "2024-09-01T11:00:00"),
                    ('{"a": {"b": 1}}', "2024-09-01T12:00:00"),
                    ("{}", "0001-01-01T00:00:00+14:00"),
                    ("[]", "infinity"),
                ]
            )
        ),
    )
    upgrade(url)
    assert listed(url, "u") == [f"m{number}" for number in range(7)]
    kept = {row[0]: row[1] for row in rows(url, "SELECT id, CAST(metadata AS TEXT) FROM memories")}
    assert json.loads(kept["0"]) == {"session_memories": {"metadata": "{'a': 1}"}}
    assert json.loads(kept["3"]) == {"session_memories": {"metadata": '{"a": "\\ud800"}'}}
    assert json.loads(kept["4"]) == {"a": {"b": 1}}
    assert json.loads(kept["6"])["session_memories"]["created_at"] == "infinity"


def test_text_that_is_not_utf_8_is_quarantined(sqlite_url: str) -> None:
    """SQLite stores any bytes as text: the row is named, and all others are taken over."""
    run(
        sqlite_url,
        "CREATE TABLE session_memories (id TEXT, session_id TEXT, user_id TEXT, content TEXT, score REAL)",
        "INSERT INTO session_memories VALUES ('1', 's', 'u', 'good', 9e999)",
        "INSERT INTO session_memories VALUES ('2', 's', 'u', CAST(X'61ff62' AS TEXT), 1)",
    )
    upgrade(sqlite_url)
    assert listed(sqlite_url, "u") == ["good"]
    ((row_id, reason, old_row),) = rows(sqlite_url, "SELECT id, reason, old_row FROM session_memories_quarantine")
    assert (row_id, reason, json.loads(old_row)["content"]) == ("2", "content is not UTF-8", "a\\xffb")


def test_ids_in_uuid_columns_take_their_letter_case_from_the_sessions(postgres_url: str) -> None:
    """A uuid column folds case: a memory's user would no longer be the user whom its session belongs to."""
    user, session, alone = (str(uuid.UUID(int=0xABCDEF << 100 | number)) for number in range(3))
    run(
        postgres_url,
        "CREATE TABLE sessions (session_id VARCHAR(64), user_id VARCHAR(64))",
        f"INSERT INTO sessions VALUES ('{session.upper()}', '{user.upper()}'), ('{alone}', '{user}')",
        "CREATE TABLE session_memories (id uuid, session_id uuid, user_id uuid, content TEXT)",
        f"INSERT INTO session_memories VALUES ('{uuid.uuid4()}', '{session}', '{user}', 'upper')",
        f"INSERT INTO session_memories VALUES ('{uuid.uuid4()}', '{alone}', '{user}', 'lower')",
    )
    upgrade(postgres_url)
    pairs = rows(postgres_url, "SELECT session_id, user_id FROM memories ORDER BY content")
    assert pairs == [(alone, user), (session.upper(), user.upper())]
    assert listed(postgres_url, user.upper()) == ["upper"]


def test_a_uuid_id_stays_what_it_is(postgres_url: str) -> None:
    """Without sessions beside them, ids of a uuid column are their usual spelling."""
    user = uuid.uuid4()
    run(
        postgres_url,
        "CREATE TABLE session_memories (id uuid, session_id uuid, user_id uuid, content TEXT)",
        f"INSERT INTO session_memories VALUES ('{uuid.uuid4()}', '{uuid.uuid4()}', '{user}', 'kept')",
    )
    upgrade(postgres_url)
    assert listed(postgres_url, str(user)) == ["kept"]
