"""What `migrate --report` says: ids that are in use and have no usual format, and old rows that were set aside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

from sqlalchemy import Column, Connection, MetaData, Select, Table, Text, cast, func, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service_kit.engine import create_engine
from service_kit.ids import is_uuid, is_uuid_or_prefixed

_AT_ONCE: Final = 1_000
_FORMATS: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "session_id": (is_uuid_or_prefixed, "no UUID or prefix_UUID"),
    "user_id": (is_uuid, "no UUID"),
}

Write = Callable[[str], object]


async def write_report(url: str, schema: str, write: Write) -> None:
    """Read the database, in the old shape or the new, and write a line for each finding and one for each total.

    Rows are streamed: memory use does not depend on their number.
    """
    engine = create_engine(url, schema, statement_wait=None)
    try:
        async with engine.connect() as connection:
            present = set(await connection.run_sync(_table_names))
            tables = [_table(name, "session_id", "user_id") for name in ("memories", "session_memories")]
            in_use = [table for table in tables if table.name in present]
            for name in _FORMATS:
                await _formats(connection, in_use, name, write)
            if "session_memories_quarantine" in present:
                await _quarantined(connection, write)
    finally:
        await engine.dispose()


async def _formats(connection: AsyncConnection, tables: Iterable[Table], name: str, write: Write) -> None:
    is_usual, what = _FORMATS[name]
    found = 0
    for table in tables:
        text = cast(table.c[name], Text)
        query = select(text, func.count()).where(table.c[name].is_not(None)).group_by(text).order_by(text)
        async for value, count in _stream(connection, query):
            if not is_usual(value):
                found += 1
                write(f"{name} is {what}: {value} (rows in {table.name}: {count})")
    write(f"{name}: {found} in use are {what}")


async def _quarantined(connection: AsyncConnection, write: Write) -> None:
    table = _table("session_memories_quarantine", "reason")
    query = select(table.c.reason, func.count()).group_by(table.c.reason).order_by(table.c.reason)
    total = 0
    async for reason, count in _stream(connection, query):
        total += count
        write(f"quarantined because {reason}: {count}")
    write(f"quarantined: {total} in all")


async def _stream(connection: AsyncConnection, query: Select[*tuple[Any, ...]]) -> AsyncIterator[Any]:
    async with connection.stream(query.execution_options(yield_per=_AT_ONCE)) as rows:
        async for row in rows:
            yield row


def _table(name: str, *columns: str) -> Table:
    """A table in the old shape or the new; only the names of its columns are known."""
    return Table(name, MetaData(), *(Column(column) for column in columns))


def _table_names(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()
