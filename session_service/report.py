"""What `migrate --report` says: ids without a usual format, and memories whose session is missing or another user's."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, TableClause, Text, cast, column, select, table

from service_kit.ids import is_uuid, is_uuid_or_prefixed
from service_kit.sql.report import Reader, Write

_SESSIONS: Final = table("sessions", column("session_id"), column("user_id"))
_QUARANTINES: Final = {
    "value quarantined": table("session_values_quarantine", column("session_id"), column("quarantine_reason")),
    "quarantined": table("sessions_quarantine", column("session_id"), column("quarantine_reason")),
}
# The table that memories are kept in, and the one they were kept in before.
_MEMORIES: Final = [table(name, column("session_id"), column("user_id")) for name in ("memories", "session_memories")]
_FOREIGN: Final = "memory session of another user than its session"
# In the old shape ids may be of any type.
_SESSION_ID: Final = cast(_SESSIONS.c.session_id, Text)
_USER_ID: Final = cast(_SESSIONS.c.user_id, Text)


async def write_report(database: Reader, write: Write) -> None:
    """Write one line a finding and a summary of each kind, of a database in the old shape or the new."""
    present = database.columns
    if "sessions" in present:
        await _formats(database, write)
    for what, quarantine in _QUARANTINES.items():
        if quarantine.name in present:
            await _each(database, select(quarantine), write, what)
    for memories in _MEMORIES:
        if {"sessions", memories.name} <= present.keys():
            await _each(database, _orphans(memories), write, "memory session without a session")
            if "user_id" in present[memories.name]:
                await _each(database, _foreign(memories), write, _FOREIGN)


async def _formats(database: Reader, write: Write) -> None:
    sessions = users = 0
    async for session_id, user_id in database.rows(select(_SESSION_ID, _USER_ID).order_by(_SESSION_ID)):
        if session_id is None or not is_uuid_or_prefixed(session_id):
            sessions += 1
            write(f"session id is no UUID or prefix_UUID: {session_id}")
        if user_id is None or not is_uuid(user_id):
            users += 1
            write(f"user id is no UUID: {user_id} (session {session_id})")
    write(f"{sessions} session ids are no UUID or prefix_UUID; {users} sessions have a user id that is no UUID")


async def _each(database: Reader, query: Select[*tuple[Any, ...]], write: Write, what: str) -> None:
    found = 0
    async for row in database.rows(query):
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
