"""The operations on sessions and their outcomes: the rules between the HTTP calls and the tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from service_kit.coalesce import Coalescer
from service_kit.database import DatabaseUnavailable, again_if_stale
from session_service.model import Absent, Ensured, Looked, Page, Session, Status, Wanted, judge
from session_service.store import Store

_TOGETHER: Final = 500


class Sessions:
    """Sessions as callers know them. Every method may raise DatabaseUnavailable, and all but `page` may be repeated."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ensuring = Coalescer(self.ensure_all, _TOGETHER, common=DatabaseUnavailable)
        self._looking = Coalescer(self._get_all, _TOGETHER, common=DatabaseUnavailable)

    async def ensure(self, wanted: Wanted) -> Ensured:
        """Create the session if it is missing. Calls that come at the same time share a transaction."""
        return await self._ensuring.submit(wanted)

    async def ensure_all(self, wanted: Sequence[Wanted]) -> Sequence[Ensured]:
        """Create those of the sessions that are missing; outcomes in the same order."""
        return await again_if_stale(lambda: self._store.ensure(wanted))

    async def look(self, session_id: str, user_id: str | None) -> Looked:
        """Look the session up for a user, or for any user. Calls at the same time share a query."""
        session = await self._looking.submit(session_id)
        return Absent() if session is None else judge(session, user_id)

    async def _get_all(self, session_ids: Sequence[str]) -> Sequence[Session | None]:
        return await again_if_stale(lambda: self._store.get(session_ids))

    async def page(self, user_id: str | None, status: Status | None, limit: int, cursor: int | None) -> Page:
        """List sessions, newest first; tombstones only where they are asked for."""
        return await again_if_stale(lambda: self._store.page(user_id, status, limit, cursor))

    async def end(self, session_id: str, user_id: str | None) -> Looked:
        """End the session; one that has ended stays as it is, and so does one of another user than the given."""
        return await self._changing(user_id, lambda: self._store.end(session_id, user_id))

    async def delete(self, session_id: str, user_id: str | None) -> Looked:
        """Leave a tombstone: Gone, also when repeated; Conflict where it is another user's; or Absent."""
        return await self._changing(user_id, lambda: self._store.delete(session_id, user_id))

    async def update(self, session_id: str, values: Mapping[str, Any], user_id: str | None) -> Looked:
        """Replace the conversation data, the metadata or both, unless the session is another user's."""
        return await self._changing(user_id, lambda: self._store.update(session_id, values, user_id))

    async def _changing(self, user_id: str | None, call: Callable[[], Awaitable[Session | None]]) -> Looked:
        session = await again_if_stale(call)
        return Absent() if session is None else judge(session, user_id)
