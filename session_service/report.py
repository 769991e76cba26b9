"""What `migrate --report` says: ids without a usual format, and memory sessions that no session stands behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Select, TableClause, column, inspect, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from service_kit.database import create_engine
from service_kit.ids import is_uuid, is_uuid_or_prefixed

_SESSIONS: Final = table("sessions", column("session_id"), column("user_id"))
_QUARANTINE: Final = table("sessions_quarantine", column("session_id"), column("quarantine_reason"))
# The table that memories are kept in, and the one they were kept in before.
_MEMORIES: Final = [table(name, column("session_id")) for name in ("memories", "session_memories")]
_AT_ONCE: Final = 1_000

Write = Callable[[str], Any]


async def write_report(url: str, schema: str, write: Write) -> None:
    """Read the database, in the old shape or the new, and write one line a finding and a summary of each kind.

    Rows are streamed: memory use does not depend on their number.
    """
    engine = create_engine(url, schema, statement_wait=None)
    try:
        async with engine.connect() as connection:
            present = set(await connection.run_sync(_table_names))
            if "sessions" in present:
                await _formats(connection, write)
            if "sessions_quarantine" in present:
                await _each(connection, select(_QUARANTINE), write, "quarantined")
            for memories in _MEMORIES:
                if {"sessions", memories.name} <= present:
                    await _each(connection, _orphans(memories), write, "memory session without a session")
    finally:
        await engine.dispose()


async def _formats(connection: AsyncConnection, write: Write) -> None:
    sessions = users = 0
    async for session_id, user_id in _stream(connection, select(_SESSIONS).order_by(_SESSIONS.c.session_id)):
        if not is_uuid_or_prefixed(session_id):
            sessions += 1
            write(f"session id is no UUID or prefix_UUID: {session_id}")
        if user_id is None or not is_uuid(user_id):
            users += 1
            write(f"user id is no UUID: {user_id} (session {session_id})")
    write(f"{sessions} session ids are no UUID or prefix_UUID; {users} sessions have a user id that is no UUID")


async def _each(connection: AsyncConnection, query: Select[Any], write: Write, what: str) -> None:
    found = 0
    async for row in _stream(connection, query):
        found += 1
        write(f"{what}: {' '.join(str(part) for part in row)}")
    write(f"{what}: {found} in all")


def _orphans(memories: TableClause) -> Select[Any]:
    of = memories.c.session_id
    known = select(_SESSIONS.c.session_id).where(_SESSIONS.c.session_id == of)
    return select(of).where(of.is_not(None), ~known.exists()).distinct().order_by(of)


async def _stream(connection: AsyncConnection, query: Select[Any]) -> Any:
    async with connection.stream(query.execution_options(yield_per=_AT_ONCE)) as rows:
        async for row in rows:
            yield row


def _table_names(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()
