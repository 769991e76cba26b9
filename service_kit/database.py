"""One way to open a database, SQLite or Postgres, for programs whose queries do not care which one it is.

A Postgres schema is chosen by `search_path` on every connection, so that neither tables, migrations nor hand-written
SQL ever name it. On SQLite every writing transaction begins with `BEGIN IMMEDIATE`: it waits for its turn before it
reads anything, and so never fails half way with "database is locked".
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, Executable, Row, event, make_url
from sqlalchemy import create_engine as create_sync_engine
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_DRIVERS: Final[Mapping[str, str]] = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_POOL_SIZE: Final = 10
_READERS: Final = 4
_POOL_WAIT: Final = 30.0
_CONNECT_WAIT: Final = 5.0
_STATEMENT_WAIT: Final = 15.0
_SQLITE_LOCK_WAIT_MS: Final = 15_000
_READ_ONLY: Final = "read_only"
_OF_THE_SERVER: Final = frozenset({"08", "25", "40", "53", "54", "55", "57", "58", "F0", "XX"})
"""SQLSTATE classes of errors that say nothing of the rows: connections, transactions, resources, shutdown, faults."""

_Answer = TypeVar("_Answer")


class DatabaseUnavailable(Exception):
    """The database did not answer, or gave up half way; the statement is not to blame.

    `stale` is true where a pooled connection turned out to be broken: the next attempt takes a fresh one.
    """

    def __init__(self, why: str, *, stale: bool = False) -> None:
        super().__init__(why)
        self.stale = stale


class Database:
    """An engine with the two ways of using it, `reading` and `writing`. Both raise DatabaseUnavailable.

    `read` and `write` are the same for work that is a plain function: on SQLite it runs as a whole in a thread, where
    each statement would otherwise be handed to one and back several times.
    """

    def __init__(self, url: str, schema: str | None) -> None:
        self.engine = create_engine(url, schema)
        self._threads = _SqliteThreads(parse_url(url)) if is_sqlite(self.engine) else None
        self._reader = self.engine.execution_options(**_reading_options(self.engine))
        self._turn = asyncio.Lock() if is_sqlite(self.engine) else contextlib.nullcontext()
        self._drivers: weakref.WeakSet[Any] = weakref.WeakSet()
        if self._threads is None:
            event.listen(self.engine.sync_engine, "connect", self._connected)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement stands alone; it must not write."""
        with _translated():
            async with self._reader.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end or rolled back by an exception.

        On SQLite, which has one writer at a time, writers of this process queue here, where waiting is fair and
        costs nothing, rather than in SQLite's own retry loop.
        """
        with _translated():
            async with self._turn, self.engine.begin() as connection:
                yield connection

    async def read(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Do `work`, of which each statement stands alone; it must not write."""
        if self._threads is not None:
            return await self._threads.read(work)
        async with self.reading() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Do `work` in a transaction, committed at the end or rolled back by an exception.

        On SQLite it is finished, one after the other, even if the caller goes away meanwhile.
        """
        if self._threads is not None:
            return await self._threads.write(work)
        async with self.writing() as connection:
            return await connection.run_sync(work)

    async def execute(self, statement: Executable, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """Give the rows of one statement, which may write and is a transaction of its own."""
        if self._threads is not None:
            return await self._threads.write(lambda connection: connection.execute(statement, parameters).all())
        async with self.reading() as connection:
            return (await connection.execute(statement, parameters)).all()

    def is_served_by(self, backend: int) -> bool:
        """Whether a process of the Postgres server, named by its id, serves a connection of this pool."""
        return any(not driver.is_closed() and driver.get_server_pid() == backend for driver in self._drivers)

    async def close(self) -> None:
        """Close all connections."""
        if self._threads is not None:
            await asyncio.to_thread(self._threads.close)
        await self.engine.dispose()

    def _connected(self, connection: Any, _record: object) -> None:
        self._drivers.add(connection.driver_connection)


class _SqliteThreads:
    """A thread that writes to an SQLite file and a few that read it, each with a connection of its own."""

    def __init__(self, url: URL) -> None:
        # No file is opened and no thread is started before there is work.
        arguments = {"check_same_thread": False}
        engine = create_sync_engine(
            url.set(drivername="sqlite"), pool_size=_READERS + 1, max_overflow=0, connect_args=arguments
        )
        _follow(engine)
        self._engine = engine
        self._read_engine = engine.execution_options(**{_READ_ONLY: True})
        self._reader = ThreadPoolExecutor(_READERS, "sqlite-reader")
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")

    async def read(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Do `work` in a reading thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, work)

    async def write(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Do `work` in the writing thread."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._write, work)

    def close(self) -> None:
        """Finish what is under way and close the connections."""
        self._reader.shutdown()
        self._writer.shutdown()
        self._engine.dispose()

    def _read(self, work: Callable[[Connection], _Answer]) -> _Answer:
        with _translated(), self._read_engine.connect() as connection:
            return work(connection)

    def _write(self, work: Callable[[Connection], _Answer]) -> _Answer:
        with _translated(), self._engine.begin() as connection:
            return work(connection)


async def again_if_stale(call: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Await a call that may safely be repeated, a second time where its connection turned out to be broken.

    A database that was restarted leaves broken connections in the pool; the first to meet one need not suffer.
    Raises DatabaseUnavailable.
    """
    try:
        return await call()
    except DatabaseUnavailable as unavailable:
        if not unavailable.stale:
            raise
        return await call()


def create_engine(url: str, schema: str | None, *, statement_wait: float | None = _STATEMENT_WAIT) -> AsyncEngine:
    """Make an engine for `sqlite:///path` or `postgresql://…`; the folder of an SQLite file is made if missing.

    `schema` counts on Postgres alone; None means the server's own search path. `statement_wait` is how many seconds
    Postgres may take for one statement. Raises ValueError for a URL that is neither.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return _postgres(parsed, schema, statement_wait)


def parse_url(url: str) -> URL:
    """Read a database URL and name the driver that is used for it. Raises ValueError with what is allowed."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("not a database URL: sqlite:///PATH or postgresql://… is allowed") from None
    driver = _DRIVERS.get(parsed.drivername.partition("+")[0])
    if driver is None or (driver.startswith("sqlite") and parsed.database in {None, "", ":memory:"}):
        raise ValueError("not a database that is supported: sqlite:///PATH or postgresql://… is allowed")
    return parsed.set(drivername=driver)


def is_sqlite(bind: AsyncEngine | AsyncConnection | Connection) -> bool:
    """Whether this is SQLite; otherwise it is Postgres."""
    return bind.dialect.name == "sqlite"


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The one place where the drivers' many ways of saying "not now" become one."""
    try:
        yield
    except (IntegrityError, ProgrammingError, DataError):
        raise
    except DBAPIError as error:
        if _blames_the_statement(error):
            raise
        raise DatabaseUnavailable(str(error.orig), stale=error.connection_invalidated) from error
    except (PoolTimeout, OSError, TimeoutError) as error:
        raise DatabaseUnavailable(str(error) or type(error).__name__) from error


def _blames_the_statement(error: DBAPIError) -> bool:
    """Whether Postgres names a cause that lies in the rows of one statement, and not in its own state.

    The first two characters of an SQLSTATE are its class (ISO/IEC 9075-2).
    """
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(state, str) and not error.connection_invalidated and state[:2] not in _OF_THE_SERVER


def _reading_options(engine: AsyncEngine) -> dict[str, Any]:
    """Autocommit, as each database spells it. SQLite connections are in autocommit until they see a BEGIN."""
    return {_READ_ONLY: True} if is_sqlite(engine) else {"isolation_level": "AUTOCOMMIT"}


def _sqlite(url: URL) -> AsyncEngine:
    Path(str(url.database)).expanduser().parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, pool_size=_POOL_SIZE, max_overflow=0, pool_timeout=_POOL_WAIT)
    _follow(engine.sync_engine)
    return engine


def _follow(engine: Engine) -> None:
    """Have every connection and every transaction of the engine begin as SQLite needs it here."""
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Readers beside one writer (WAL), and a commit that is on disk when it is answered (FULL)."""
    connection.isolation_level = None  # the driver must not begin transactions by itself: `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_LOCK_WAIT_MS}")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """Where several processes open a new file at once, SQLite lets only one switch, and has the others fail at once."""
    give_up = time.monotonic() + _SQLITE_LOCK_WAIT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.001)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get(_READ_ONLY):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres(url: URL, schema: str | None, statement_wait: float | None) -> AsyncEngine:
    server_settings = {"application_name": "session-sidecar"}
    if schema is not None:
        server_settings["search_path"] = quoted(schema)
    arguments = {"server_settings": server_settings, "timeout": _CONNECT_WAIT, "command_timeout": statement_wait}
    return create_async_engine(
        url, pool_size=_POOL_SIZE, max_overflow=0, pool_timeout=_POOL_WAIT, pool_use_lifo=True, connect_args=arguments
    )


def quoted(identifier: str) -> str:
    """An SQL identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'
