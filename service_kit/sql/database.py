"""One way to use a database, SQLite or Postgres, for programs whose queries run on both."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Executable, Row, event
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from service_kit.sql.engine import create_engine, create_thread_engine, is_sqlite, reading_options

_READERS: Final = 4
_OF_THE_SERVER: Final = frozenset({"08", "25", "40", "53", "54", "55", "57", "58", "F0", "XX"})
"""SQLSTATE classes of errors that say nothing of the rows: connections, transactions, resources, shutdown, faults."""

_Answer = TypeVar("_Answer")
_Parameters = ParamSpec("_Parameters")


class DatabaseUnavailable(Exception):
    """The database did not answer, or broke off; the statement itself is valid.

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
        self._threads = _SqliteThreads(url) if is_sqlite(self.engine) else None
        self._reader = self.engine.execution_options(**reading_options(self.engine))
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
        """Give the rows of one statement of Postgres's, which may write and is a transaction of its own."""
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

    def __init__(self, url: str) -> None:
        # No file is opened and no thread is started before there is work.
        self._engine = create_thread_engine(url, _READERS + 1)
        self._read_engine = self._engine.execution_options(**reading_options(self._engine))
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


def repeated_if_stale(
    call: Callable[_Parameters, Awaitable[_Answer]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Answer]]:
    """Decorate a call that may safely be repeated: it is, once, where its connection turned out to be broken.

    A database that was restarted leaves broken connections in the pool; the first to meet one need not suffer.
    """

    @functools.wraps(call)
    async def repeated(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> _Answer:
        try:
            return await call(*arguments, **named)
        except DatabaseUnavailable as unavailable:
            if not unavailable.stale:
                raise
            return await call(*arguments, **named)

    return repeated


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
