"""What reading and writing a database promise."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from service_kit.sql.database import Database, DatabaseUnavailable, repeated_if_stale
from tests.support.postgres import PostgresServer, fresh_database, postgres

__all__ = ["postgres"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_database(request, tmp_path / "new/folder/some.db") as made:
        yield made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A database with one table of numbers, in a schema where there are any."""
    opened = Database(url, "odd name")
    async with opened.writing() as connection:
        if url.startswith("postgres"):
            await connection.execute(text('CREATE SCHEMA "odd name"'))
        await connection.execute(text("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
    yield opened
    await opened.close()


async def numbers(database: Database) -> list[int]:
    async with database.reading() as connection:
        return list((await connection.execute(text("SELECT n FROM numbers ORDER BY n"))).scalars())


async def add(database: Database, number: int) -> None:
    async with database.writing() as connection:
        await connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})


async def test_a_transaction_is_whole_or_not_at_all(database: Database) -> None:
    """What was written before an exception is not there."""

    async def fail_half_way() -> None:
        async with database.writing() as connection:
            await connection.execute(text("INSERT INTO numbers VALUES (1)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    assert await numbers(database) == []


async def test_plain_work_is_whole_or_not_at_all(database: Database) -> None:
    """`write` commits at the end or rolls back, and `read` gives what `work` made of the rows."""

    def insert(connection: Connection) -> None:
        connection.execute(text("INSERT INTO numbers VALUES (1)"))

    def fail_half_way(connection: Connection) -> None:
        connection.execute(text("INSERT INTO numbers VALUES (2)"))
        raise ZeroDivisionError

    await database.write(insert)
    with pytest.raises(ZeroDivisionError):
        await database.write(fail_half_way)
    with pytest.raises(IntegrityError):
        await database.write(insert)
    read = await database.read(lambda one: list(one.execute(text("SELECT n FROM numbers")).scalars()))
    assert read == await numbers(database) == [1]


async def test_one_statement_of_postgres_is_a_transaction_of_its_own(postgres: PostgresServer) -> None:
    """What it has written is there for all when it gives its rows."""
    database, other = Database(postgres.url(), None), Database(postgres.url(), None)
    async with database.writing() as connection:
        await connection.execute(text("CREATE TABLE own_statement (n INTEGER PRIMARY KEY)"))
    statement = text("INSERT INTO own_statement VALUES (:n) RETURNING n + 1")
    assert [row[0] for row in await database.execute(statement, {"n": 1})] == [2]
    assert [row[0] for row in await other.execute(text("SELECT n FROM own_statement"), {})] == [1]
    with pytest.raises(IntegrityError):
        await database.execute(statement, {"n": 1})
    async with database.writing() as connection:
        await connection.execute(text("DROP TABLE own_statement"))
    for each in (database, other):
        await each.close()


async def test_a_pool_knows_the_server_processes_that_serve_it(postgres: PostgresServer) -> None:
    """One of its own for as long as the connection is open, and none of another pool."""
    database, other = Database(postgres.url(), None), Database(postgres.url(), None)
    backend = text("SELECT pg_backend_pid()")
    ((own,),), ((foreign,),) = await database.execute(backend, {}), await other.execute(backend, {})
    assert (database.is_served_by(own), database.is_served_by(foreign)) == (True, False)
    await database.close()
    assert not database.is_served_by(own)
    await other.close()


async def test_both_ways_of_writing_wait_for_each_other(database: Database, url: str) -> None:
    """In one process or in two, by plain work or by a block."""
    other = Database(url, "odd name")

    async def plainly(number: int) -> None:
        insert = text("INSERT INTO numbers VALUES (:n)")
        await other.write(lambda connection: connection.execute(insert, {"n": number}).close())

    await asyncio.gather(*((add(database, n) if n % 2 else plainly(n)) for n in range(40)))
    await other.close()
    assert await numbers(database) == list(range(40))


async def test_plain_work_on_sqlite_is_done_though_its_caller_leaves(tmp_path: Path) -> None:
    """`close` waits for it too."""
    database = Database(f"sqlite:///{tmp_path / 'some.db'}", None)
    begun, go = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
        begun.set()
        go.wait(30)
        connection.execute(text("INSERT INTO numbers VALUES (1)"))

    caller = asyncio.create_task(database.write(work))
    await asyncio.to_thread(begun.wait, 30)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    await database.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "some.db")) as opened:
        assert opened.execute("SELECT n FROM numbers").fetchall() == [(1,)]


async def test_plain_work_on_a_file_that_is_none_is_an_outage(tmp_path: Path) -> None:
    """As in a block."""
    (tmp_path / "some.db").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'some.db'}", None)
    for way in (database.read, database.write):
        with pytest.raises(DatabaseUnavailable):
            await way(lambda connection: connection.execute(text("SELECT 1")).close())
    await database.close()


async def test_readers_see_what_is_committed_while_somebody_writes(database: Database) -> None:
    """Reading never waits for a writer."""
    await add(database, 1)
    async with database.writing() as connection:
        await connection.execute(text("INSERT INTO numbers VALUES (2)"))
        assert await numbers(database) == [1]
    assert await numbers(database) == [1, 2]


async def test_many_writers_of_several_processes_wait_for_each_other(database: Database, url: str) -> None:
    """No writer is turned away because the database is busy."""
    other = Database(url, "odd name")
    await asyncio.gather(*(add((database, other)[number % 2], number) for number in range(60)))
    await other.close()
    assert await numbers(database) == list(range(60))


async def test_a_broken_rule_is_the_callers_fault_and_no_outage(database: Database) -> None:
    """Constraint violations keep their own type."""
    await add(database, 1)
    with pytest.raises(IntegrityError):
        await add(database, 1)


async def test_a_server_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    """Under every name that drivers give the error."""
    database = Database(f"postgresql://nobody@/nothing?host={tmp_path}", "dev")
    with pytest.raises(DatabaseUnavailable):
        await numbers(database)
    with pytest.raises(DatabaseUnavailable):
        await add(database, 1)
    await database.close()


async def test_a_broken_connection_is_told_from_a_missing_server(postgres: PostgresServer) -> None:
    """After a restart the pool holds dead connections: the first failure says that another attempt is worth it."""
    url = await asyncio.to_thread(postgres.create_database)
    database = Database(url, None)
    async with database.writing() as connection:
        await connection.execute(text("CREATE TABLE numbers (n INTEGER)"))
    await postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test_%' AND pid <> pg_backend_pid()"
    )
    with pytest.raises(DatabaseUnavailable) as failure:
        await numbers(database)
    assert failure.value.stale
    assert await numbers(database) == []
    await database.close()
    await asyncio.to_thread(postgres.drop_database, url)


async def test_sqlite_keeps_what_it_has_answered(tmp_path: Path) -> None:
    """Readers do not block the writer, and a commit is on disk when it is answered."""
    path = tmp_path / "some.db"
    database = Database(f"sqlite:///{path}", None)
    async with database.reading() as connection:
        settings = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar_one() for name in ("journal_mode", "synchronous")
        ]
    await database.close()
    assert settings == ["wal", 2]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_many_processes_may_open_a_new_sqlite_file_at_once(tmp_path: Path) -> None:
    """None of them is told that the file is locked."""
    for number in range(10):
        databases = [Database(f"sqlite:///{tmp_path}/{number}.db", None) for _ in range(4)]

        async def touch(database: Database) -> None:
            async with database.writing() as connection:
                await connection.execute(text("CREATE TABLE IF NOT EXISTS numbers (n INTEGER)"))

        ends = await asyncio.gather(*(touch(database) for database in databases), return_exceptions=True)
        assert ends == [None] * 4
        for database in databases:
            await database.close()


async def test_what_may_be_repeated_is_repeated_once_after_a_stale_connection() -> None:
    """Not after any other outage, and not for ever."""
    failures = [DatabaseUnavailable("died in the pool", stale=True)]

    @repeated_if_stale
    async def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert await call() == "done"
    for lasting in ([DatabaseUnavailable("away")], [DatabaseUnavailable("died", stale=True) for _ in range(2)]):
        failures.extend(lasting)
        with pytest.raises(DatabaseUnavailable):
            await call()
        assert failures == []
