"""What may be asked of sessions, and what comes of it: the rules between the HTTP calls and the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service_kit.coalesce import Coalescer
from service_kit.sql.database import DatabaseUnavailable
from session_service.model import Absent, Ensured, Looked, Page, Session, Status, Wanted, judge
from session_service.store import Store

_TOGETHER: Final = 500


class Sessions:
    """Sessions as callers know them. Every method may raise DatabaseUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ensuring = Coalescer(store.ensure, _TOGETHER, common=DatabaseUnavailable)
        self._looking = Coalescer(store.get, _TOGETHER, common=DatabaseUnavailable)

    async def ensure(self, wanted: Wanted) -> Ensured:
        """Create the session if it is missing. Calls that come at the same time share a transaction."""
        return await self._ensuring.submit(wanted)

    async def ensure_all(self, wanted: Sequence[Wanted]) -> Sequence[Ensured]:
        """Create those of the sessions that are missing; outcomes in the same order."""
        return await self._store.ensure(wanted)

    async def look(self, session_id: str, user_id: str | None) -> Looked:
        """Say what the session is to a user, or to any user. Calls at the same time share a query."""
        return _to_user(user_id, await self._looking.submit(session_id))

    async def page(self, user_id: str | None, status: Status | None, limit: int, cursor: int | None) -> Page:
        """List sessions, newest first; tombstones only where they are asked for."""
        return await self._store.page(user_id, status, limit, cursor)

    async def end(self, session_id: str, user_id: str | None) -> Looked:
        """End the session; one that has ended stays as it is, and so does one of another user than the given."""
        return _to_user(user_id, await self._store.end(session_id, user_id))

    async def delete(self, session_id: str, user_id: str | None) -> Looked:
        """Leave a tombstone: Gone, also when repeated; Conflict where it is another user's; or Absent."""
        return _to_user(user_id, await self._store.delete(session_id, user_id))

    async def update(self, session_id: str, values: Mapping[str, Any], user_id: str | None) -> Looked:
        """Replace the conversation data, the metadata or both, unless the session is another user's."""
        return _to_user(user_id, await self._store.update(session_id, values, user_id))


def _to_user(user_id: str | None, session: Session | None) -> Looked:
    return Absent() if session is None else judge(session, user_id)
