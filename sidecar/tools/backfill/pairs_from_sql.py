"""Reads (user_id, session_id) pairs from a query's rows as the database gives them, never all at once.

It needs the extra `services`, for SQLAlchemy, so other modules import it late.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy import URL, TextClause, text
from sqlalchemy.exc import DBAPIError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service_kit.sql.engine import create_engine, parse_url
from sidecar.tools.backfill.pairs import Record, SourceFailed, UnreadableSource, columns_of, make_record

_SIGNS_OF_A_WRONG_QUERY: Final = ("no such", "syntax", "readonly", "read-only")
"""SQLite has one kind of error for all of these."""


class PairQuery:
    """The rows of one query, for as often as they are asked for. Use `aclose` afterwards."""

    def __init__(self, url: str, query: str) -> None:
        """Raises UnreadableSource for a URL that names no database."""
        try:
            parsed = parse_url(url)
        except ValueError as error:
            raise UnreadableSource(f"--from-sql: {error}") from None
        if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
            raise UnreadableSource(f"--from-sql: there is no file {parsed.database}")
        self._name = parsed.render_as_string(hide_password=True)
        self._query = query.strip().rstrip(";")
        self._engine = _read_only_engine(parsed)

    async def aclose(self) -> None:
        await self._engine.dispose()

    async def count(self) -> int | None:
        """How many rows there will be; None where that cannot be told beforehand. Raises SourceFailed."""
        counting = _verbatim(f"SELECT COUNT(*) FROM ({self._query}) AS pairs")  # noqa: S608 # it is the user's own
        with self._translated(), contextlib.suppress(ProgrammingError):
            async with self._engine.connect() as connection:
                return int((await connection.execute(counting)).scalar_one())
        return None

    async def records(self, at_once: int) -> AsyncGenerator[list[Record]]:
        """Give the rows, so many at a time.

        Raises UnreadableSource for a query that does not give the two columns, SourceFailed for anything else.
        """
        with self._translated():
            async with self._engine.connect() as connection:
                rows = await connection.stream(_verbatim(self._query), execution_options={"yield_per": at_once})
                try:
                    names = list(rows.keys())
                    if (columns := columns_of(names)) is None:
                        raise UnreadableSource(f"--query gives {', '.join(names)}; user_id and session_id are needed")
                    numbers = itertools.count(1)
                    async for part in rows.partitions(at_once):
                        yield [make_record(next(numbers), *(_text(row[each]) for each in columns)) for row in part]
                finally:
                    await rows.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            # While rows are streamed, SQLAlchemy lets asyncpg's own exceptions through.
            cause = str(getattr(error, "orig", error)) or type(error).__name__
            line = cause.rpartition(">: ")[2].splitlines()[0]
            if isinstance(error, ProgrammingError) or any(sign in line for sign in _SIGNS_OF_A_WRONG_QUERY):
                raise UnreadableSource(f"--query: {line}") from error
            raise SourceFailed(f"the database {self._name} failed: {line}") from error
        except SQLAlchemyError as error:
            raise UnreadableSource(f"--query: {str(error).splitlines()[0]}") from error


def _read_only_engine(url: URL) -> AsyncEngine:
    """A query that would change something fails; nor is anything about the file changed by opening it."""
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database)).expanduser().absolute()
        return create_async_engine(url.set(database=path.as_uri(), query={"mode": "ro", "uri": "true"}))
    engine = create_engine(url.render_as_string(hide_password=False), None, statement_wait=None)
    return engine.execution_options(postgresql_readonly=True)


def _verbatim(query: str) -> TextClause:
    """The text as it stands: a colon in it is no parameter."""
    return text(query.replace(":", r"\:"))


def _text(value: Any) -> Any:
    """Ids as text: a column of type uuid or integer is as good as its digits."""
    return str(value) if isinstance(value, uuid.UUID) or type(value) is int else value
