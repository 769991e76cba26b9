"""Pairs are read from a query's rows on both databases, as they come and without touching anything."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sidecar.tools.backfill.pairs import Bad, Pair, Record, SourceFailed, UnreadableSource
from sidecar.tools.backfill.pairs_from_sql import PairQuery
from tests.support.postgres import PostgresServer, postgres

__all__ = ["postgres"]

GOOD = "SELECT user_id, session_id FROM messages ORDER BY session_id"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An SQLite database that refers to 2,500 sessions."""
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.execute("CREATE TABLE messages (user_id TEXT, session_id TEXT, number INTEGER)")
        rows = [(f"u{number}", f"s{number:04}", number) for number in range(2_500)]
        connection.executemany("INSERT INTO messages VALUES (?, ?, ?)", rows)
    return f"sqlite:///{tmp_path}/old.db"


@contextlib.asynccontextmanager
async def asked(url: str, query: str) -> AsyncIterator[PairQuery]:
    """A query that will be closed."""
    pairs = PairQuery(url, query)
    try:
        yield pairs
    finally:
        await pairs.aclose()


async def read(url: str, query: str) -> list[Record]:
    """All records of a query."""
    async with asked(url, query) as pairs:
        return [record async for records in pairs.records(100) for record in records]


async def test_reads_rows_in_their_order(url: str) -> None:
    """Columns are found by name, and a semicolon at the end of the query is accepted."""
    records = await read(url, f"{GOOD};")
    assert records == [Pair(number + 1, f"u{number}", f"s{number:04}") for number in range(2_500)]


async def test_counts_beforehand(url: str) -> None:
    """The number of rows is known before the first is read, for the progress bar."""
    async with asked(url, f"{GOOD};") as pairs:
        assert await pairs.count() == 2_500


async def test_colons_are_no_parameters(url: str) -> None:
    """A colon in the query is not taken for a parameter."""
    assert await read(url, "SELECT 'u:a' AS user_id, 's:b' AS session_id") == [Pair(1, "u:a", "s:b")]


async def test_numbers_are_ids_and_nothing_is_none(url: str) -> None:
    """An integer is read as its digits, and NULL is a missing id."""
    query = "SELECT number AS user_id, session_id FROM messages LIMIT 1"
    assert await read(url, query) == [Pair(1, "0", "s0000")]
    (bad,) = await read(url, "SELECT NULL AS user_id, 's' AS session_id")
    assert isinstance(bad, Bad)
    assert "no user_id" in bad.why


async def test_stopping_early_leaves_nothing_behind(url: str) -> None:
    """A reader that stops early closes the rows and the connection."""
    async with asked(url, GOOD) as pairs, contextlib.aclosing(pairs.records(10)) as records:
        assert (await anext(records))[0] == Pair(1, "u0", "s0000")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELECT user_id FROM messages", "--query gives user_id; user_id and session_id are needed"),
        ("SELECT user_id, session_id FROM nowhere", "--query: no such table: nowhere"),
        ("SELEC user_id", "--query: .*syntax error"),
        ("DELETE FROM messages", "--query: attempt to write a readonly database"),
    ],
)
async def test_a_wrong_query_is_one_readable_line(url: str, query: str, named: str) -> None:
    """A wrong query is reported in the database's own words, in one line."""
    with pytest.raises(UnreadableSource, match=named) as wrong:
        await read(url, query)
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize("wrong", ["nonsense", "mysql://localhost/db", "sqlite:////does/not/exist.db"])
def test_a_wrong_url_is_one_readable_line(wrong: str) -> None:
    """A wrong URL is reported in one line, and no empty database is made at it."""
    with pytest.raises(UnreadableSource, match="--from-sql"):
        PairQuery(wrong, GOOD)


async def test_a_database_that_is_away_is_no_wrong_query() -> None:
    """A database that is away is not reported as a wrong query, and the password stays hidden."""
    with pytest.raises(SourceFailed) as failed:
        await read("postgresql://someone:hush@127.0.0.1:1/db", GOOD)
    assert "hush" not in str(failed.value)


def test_reads_uuids_from_postgres(postgres: PostgresServer) -> None:
    """A uuid column is read as text, through a server-side cursor."""
    url = postgres.create_database()

    async def fill() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE old (user_id uuid, session_id varchar(64))")
        await connection.execute(
            "INSERT INTO old SELECT '9f1c2d3e-0000-4000-8000-000000000001', 's' || n FROM generate_series(1, 3000) n"
        )
        await connection.close()

    asyncio.run(fill())
    query = "SELECT user_id, session_id::text FROM old ORDER BY length(session_id), session_id"
    records = asyncio.run(read(url, query))
    assert records == [Pair(n, "9f1c2d3e-0000-4000-8000-000000000001", f"s{n}") for n in range(1, 3001)]
    with pytest.raises(UnreadableSource, match='--query: relation "nowhere" does not exist'):
        asyncio.run(read(url, "SELECT * FROM nowhere"))
    with pytest.raises(UnreadableSource, match="--query: cannot execute DELETE in a read-only transaction"):
        asyncio.run(read(url, "DELETE FROM old RETURNING user_id, session_id"))
    postgres.drop_database(url)
