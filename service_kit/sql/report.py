"""Reads a database of any shape for `migrate --report`, and changes nothing.

Rows are streamed: memory use does not depend on their number.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from service_kit.sql.engine import create_engine

Write = Callable[[str], object]
"""Takes one line of a report."""

_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Reader:
    """A database with the names of the columns of each of its tables."""

    columns: Mapping[str, set[str]]
    _connection: AsyncConnection

    async def rows(self, query: Select[*tuple[Any, ...]]) -> AsyncIterator[Any]:
        """The rows of a query, one by one."""
        async with self._connection.stream(query.execution_options(yield_per=_AT_ONCE)) as rows:
            async for row in rows:
                yield row


@contextlib.asynccontextmanager
async def reading(url: str, schema: str) -> AsyncIterator[Reader]:
    """Open a database until the block ends. Raises what SQLAlchemy and the drivers raise."""
    engine = create_engine(url, schema, statement_wait=None)
    try:
        async with engine.connect() as connection:
            yield Reader(await connection.run_sync(_columns), connection)
    finally:
        await engine.dispose()


def _columns(connection: Connection) -> dict[str, set[str]]:
    tables = inspect(connection).get_multi_columns()
    return {name: {column["name"] for column in columns} for (_, name), columns in tables.items()}
