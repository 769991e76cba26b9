"""Queries of sessions. `creation` and `changing` write sessions, and `events` writes events.

A change and its event are one transaction. Within it the sessions' rows are locked first, in the order of their ids,
and the event counter last, so that transactions wait for each other but never in a circle.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from service_kit.sql.database import Database, repeated_if_stale
from service_kit.sql.engine import is_sqlite
from session_service import changing, creation, rows
from session_service.events import EventLog
from session_service.model import Created, Ensured, Event, Page, Session, Status, Wanted, judge
from session_service.rows import Known
from session_service.tables import sessions


class Store:
    """Reads and changes sessions. `committed` is given the events of each transaction once it has been committed.

    Every method may raise DatabaseUnavailable.
    """

    def __init__(
        self, database: Database, events: EventLog, committed: Callable[[Sequence[Event]], None] = lambda _events: None
    ) -> None:
        self._database = database
        self._events = events
        self._committed = committed

    @repeated_if_stale
    async def get(self, session_ids: Sequence[str]) -> list[Session | None]:
        """The sessions in the order of the ids, tombstones included; None for one that never was."""
        known = await self._database.read(lambda connection: rows.known(connection, session_ids))
        return [known.get(session_id) for session_id in session_ids]

    @repeated_if_stale
    async def ensure(self, wanted: Sequence[Wanted]) -> list[Ensured]:
        """Create the sessions that are missing and say for each what came of it, in one transaction at most.

        Where one id is wanted twice, the first is served first.
        """
        now = dt.datetime.now(dt.UTC)
        first = {one.session_id: one for one in reversed(wanted)}
        new = [_new(first[session_id], now) for session_id in sorted(first)]
        if is_sqlite(self._database.engine):
            outcome = await creation.on_sqlite(self._database, self._events, new, now)
        else:
            outcome = await creation.on_postgres(self._database, new, now)
        self._committed(outcome.events)
        return _outcomes(wanted, outcome.known, outcome.created)

    async def end(self, session_id: str, user_id: str | None = None) -> Session | None:
        """End the session if it is active, and the user's where one is given."""
        return await self._change(changing.END, session_id, user_id)

    async def delete(self, session_id: str, user_id: str | None = None) -> Session | None:
        """Make a tombstone of the session, which keeps its ids and times and nothing else."""
        return await self._change(changing.DELETE, session_id, user_id)

    async def update(self, session_id: str, values: Mapping[str, Any], user_id: str | None = None) -> Session | None:
        """Replace the named columns of a session that was not deleted."""
        return await self._change(changing.replacing(values), session_id, user_id)

    @repeated_if_stale
    async def page(self, user_id: str | None, status: Status | None, limit: int, cursor: int | None) -> Page:
        """Sessions, newest first; tombstones only where they are asked for."""
        query = select(*rows.COLUMNS, sessions.c.id).order_by(sessions.c.id.desc()).limit(limit + 1)
        query = query.where(sessions.c.status == status if status else sessions.c.status != Status.DELETED)
        if user_id is not None:
            query = query.where(sessions.c.user_id == user_id)
        if cursor is not None:
            query = query.where(sessions.c.id < cursor)
        found = await self._database.read(lambda connection: connection.execute(query).all())
        more = len(found) > limit
        return Page(tuple(rows.to_session(row[:-1]) for row in found[:limit]), found[limit - 1].id if more else None)

    @repeated_if_stale
    async def _change(self, wanted: changing.Changing, session_id: str, user_id: str | None) -> Session | None:
        """Give the session as it is afterwards, changed or not; None where there never was one."""
        asked = {"asked": session_id, "owner": user_id, "now": dt.datetime.now(dt.UTC)}
        if is_sqlite(self._database.engine):
            session, events = await changing.on_sqlite(self._database, self._events, wanted, asked)
        else:
            session, events = await changing.on_postgres(self._database, wanted, asked)
        self._committed(events)
        return session or (await self.get([session_id]))[0]


def _outcomes(wanted: Sequence[Wanted], known: Known, created: Known) -> list[Ensured]:
    unclaimed = set(created)
    outcomes: list[Ensured] = []
    for one in wanted:
        if one.session_id in unclaimed:
            unclaimed.remove(one.session_id)
            outcomes.append(Created(created[one.session_id]))
        else:
            session = created.get(one.session_id) or known[one.session_id]
            outcomes.append(judge(session, one.user_id))
    return outcomes


def _new(wanted: Wanted, now: dt.datetime) -> Session:
    return Session(
        wanted.session_id, wanted.user_id, Status.ACTIVE, wanted.conversation_data, wanted.metadata, now, now
    )
