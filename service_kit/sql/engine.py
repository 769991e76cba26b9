"""Engines for SQLite and Postgres, and what a connection of either begins with.

A Postgres schema is chosen by `search_path` on every connection, so that neither tables, migrations nor hand-written
SQL ever name it. On SQLite every writing transaction begins with `BEGIN IMMEDIATE`: it waits for its turn before it
reads anything, and so never fails half way with "database is locked".
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy import create_engine as create_sync_engine
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_DRIVERS: Final[Mapping[str, str]] = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_POOL_SIZE: Final = 10
_POOL_WAIT: Final = 30.0
_CONNECT_WAIT: Final = 5.0
_STATEMENT_WAIT: Final = 15.0
_SQLITE_LOCK_WAIT_MS: Final = 15_000
_READ_ONLY: Final = "read_only"


def create_engine(url: str, schema: str | None, *, statement_wait: float | None = _STATEMENT_WAIT) -> AsyncEngine:
    """Make an engine for `sqlite:///path` or `postgresql://…`; the folder of an SQLite file is made if missing.

    `schema` counts on Postgres alone; None means the server's own search path. `statement_wait` is how many seconds
    Postgres may take for one statement. Raises ValueError for a URL that is neither.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return _postgres(parsed, schema, statement_wait)


def create_thread_engine(url: str, connections: int) -> Engine:
    """Make an engine for an SQLite file whose connections go from thread to thread, so many at most."""
    engine = create_sync_engine(
        parse_url(url).set(drivername="sqlite"),
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    _follow(engine)
    return engine


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


def is_sqlite(bind: AsyncEngine | Engine | AsyncConnection | Connection) -> bool:
    """Whether this is SQLite; otherwise it is Postgres."""
    return bind.dialect.name == "sqlite"


def reading_options(engine: AsyncEngine | Engine) -> dict[str, Any]:
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
