"""What `migrate --report` says: ids that are in use and have no usual format, and old rows that were set aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import TableClause, Text, cast, column, func, select, table

from service_kit.ids import is_uuid, is_uuid_or_prefixed
from service_kit.sql.report import Reader, Write

_FORMATS: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "session_id": (is_uuid_or_prefixed, "no UUID or prefix_UUID"),
    "user_id": (is_uuid, "no UUID"),
}
# The table that memories are kept in, and the one they were kept in before.
_MEMORIES: Final = [table(name, column("session_id"), column("user_id")) for name in ("memories", "session_memories")]
_QUARANTINE: Final = table("session_memories_quarantine", column("reason"))


async def write_report(database: Reader, write: Write) -> None:
    """Write a line for each finding and one for each total, of a database in the old shape or the new."""
    in_use = [memories for memories in _MEMORIES if memories.name in database.columns]
    for name in _FORMATS:
        await _formats(database, in_use, name, write)
    if _QUARANTINE.name in database.columns:
        await _quarantined(database, write)


async def _formats(database: Reader, tables: list[TableClause], name: str, write: Write) -> None:
    is_usual, what = _FORMATS[name]
    found = 0
    for memories in tables:
        text = cast(memories.c[name], Text)
        query = select(text, func.count()).where(memories.c[name].is_not(None)).group_by(text).order_by(text)
        async for value, count in database.rows(query):
            if not is_usual(value):
                found += 1
                write(f"{name} is {what}: {value} (rows in {memories.name}: {count})")
    write(f"{name}: {found} in use are {what}")


async def _quarantined(database: Reader, write: Write) -> None:
    reason = _QUARANTINE.c.reason
    total = 0
    async for why, count in database.rows(select(reason, func.count()).group_by(reason).order_by(reason)):
        total += count
        write(f"quarantined because {why}: {count}")
    write(f"quarantined: {total} in all")
