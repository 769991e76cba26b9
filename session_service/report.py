"""What `migrate --report` says: ids without a usual format, and memories whose session is missing or another user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Select, TableClause, Text, cast, column, inspect, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from service_kit.engine import create_engine
from service_kit.ids import is_uuid, is_uuid_or_prefixed

_SESSIONS: Final = table("sessions", column("session_id"), column("user_id"))
_QUARANTINES: Final = {
    "value quarantined": table("session_values_quarantine", column("session_id"), column("quarantine_reason")),
    "quarantined": table("sessions_quarantine", column("session_id"), column("quarantine_reason")),
}
# The table that memories are kept in, and the one they were kept in before.
_MEMORIES: Final = [table(name, column("session_id"), column("user_id")) for name in ("memories", "session_memories")]
_FOREIGN: Final = "memory session of another user than its session"
_AT_ONCE: Final = 1_000
# In the old shape ids may be of any type.
_SESSION_ID: Final = cast(_SESSIONS.c.session_id, Text)
_USER_ID: Final = cast(_SESSIONS.c.user_id, Text)

Write = Callable[[str], Any]


async def write_report(url: str, schema: str, write: Write) -> None:
    """Read the database, in the old shape or the new, and write one line a finding and a summary of each kind.

    Rows are streamed: memory use does not depend on their number.
    """
    engine = create_engine(url, schema, statement_wait=None)
    try:
        async with engine.connect() as connection:
            present = await connection.run_sync(_columns)
            if "sessions" in present:
                await _formats(connection, write)
            for what, quarantine in _QUARANTINES.items():
                if quarantine.name in present:
                    await _each(connection, select(quarantine), write, what)
            for memories in _MEMORIES:
                if {"sessions", memories.name} <= present.keys():
                    await _each(connection, _orphans(memories), write, "memory session without a session")
                    if "user_id" in present[memories.name]:
                        await _each(connection, _foreign(memories), write, _FOREIGN)
    finally:
        await engine.dispose()


async def _formats(connection: AsyncConnection, write: Write) -> None:
    sessions = users = 0
    async for session_id, user_id in _stream(connection, select(_SESSION_ID, _USER_ID).order_by(_SESSION_ID)):
        if session_id is None or not is_uuid_or_prefixed(session_id):
            sessions += 1
            write(f"session id is no UUID or prefix_UUID: {session_id}")
        if user_id is None or not is_uuid(user_id):
            users += 1
            write(f"user id is no UUID: {user_id} (session {session_id})")
    write(f"{sessions} session ids are no UUID or prefix_UUID; {users} sessions have a user id that is no UUID")


async def _each(connection: AsyncConnection, query: Select[*tuple[Any, ...]], write: Write, what: str) -> None:
    found = 0
    async for row in _stream(connection, query):
        found += 1
        write(f"{what}: {' '.join(str(part) for part in row)}")
    write(f"{what}: {found} in all")


def _orphans(memories: TableClause) -> Select[*tuple[Any, ...]]:
    of = cast(memories.c.session_id, Text)
    known = select(_SESSION_ID).where(of == _SESSION_ID)
    return select(of).where(of.is_not(None), ~known.exists()).distinct().order_by(of)


def _foreign(memories: TableClause) -> Select[*tuple[Any, ...]]:
    """Pairs of session and user of memories, where the session belongs to another user."""
    of, user = cast(memories.c.session_id, Text), cast(memories.c.user_id, Text)
    owned = select(_SESSION_ID).where(of == _SESSION_ID, _USER_ID.is_distinct_from(user))
    return select(of, user).where(owned.exists()).distinct().order_by(of, user)


async def _stream(connection: AsyncConnection, query: Select[*tuple[Any, ...]]) -> Any:
    async with connection.stream(query.execution_options(yield_per=_AT_ONCE)) as rows:
        async for row in rows:
            yield row


def _columns(connection: Connection) -> dict[str, set[str]]:
    """The names of every table's columns."""
    tables = inspect(connection).get_multi_columns()
    return {name: {column["name"] for column in columns} for (_, name), columns in tables.items()}
