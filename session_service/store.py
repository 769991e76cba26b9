"""Sessions in the database: every query of the service but those about events, the same for SQLite and Postgres.

A change and its event are one transaction. Within it the sessions' rows are locked first, in the order of their ids,
and the event counter last, so that transactions wait for each other but never in a circle.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, Insert, RowMapping, Select, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service_kit.database import Database, is_sqlite
from session_service.events import EventLog
from session_service.model import Change, Created, Ensured, Event, Page, Session, Status, Wanted, judge
from session_service.tables import sessions

_COLUMNS = tuple(column for column in sessions.c if column is not sessions.c.id)
_ALIVE = (Status.ACTIVE, Status.ENDED)

Known: TypeAlias = Mapping[str, Session]


class Store:
    """Reads and changes sessions. `committed` is given the events of each transaction once it has been committed."""

    def __init__(
        self, database: Database, events: EventLog, committed: Callable[[Sequence[Event]], None] = lambda _events: None
    ) -> None:
        self._database = database
        self._events = events
        self._committed = committed

    async def get(self, session_ids: Sequence[str]) -> list[Session | None]:
        """The sessions in the order of the ids, tombstones included; None for one that never was."""
        known = await self._database.read(lambda connection: _known(connection, session_ids))
        return [known.get(session_id) for session_id in session_ids]

    async def ensure(self, wanted: Sequence[Wanted]) -> list[Ensured]:
        """Create the sessions that are missing and say for each what came of it, in one transaction at most.

        Where one id is wanted twice, the first is served first.
        """
        asked = [one.session_id for one in wanted]
        known = await self._database.read(lambda connection: _known(connection, asked))
        missing = [one for one in wanted if one.session_id not in known]
        created: Known = {}
        if missing:
            created, raced, events = await self._database.write(lambda connection: self._create(connection, missing))
            self._committed(events)
            known = {**known, **raced}
        return _outcomes(wanted, known, created)

    async def end(self, session_id: str, user_id: str | None = None) -> Session | None:
        """End the session if it is active, and the user's where one is given."""
        return await self._change(session_id, user_id, [Status.ACTIVE], {"status": Status.ENDED}, Change.ENDED)

    async def delete(self, session_id: str, user_id: str | None = None) -> Session | None:
        """Make a tombstone of the session, which keeps its ids and times and nothing else."""
        emptied = {"status": Status.DELETED, "conversation_data": {}, "metadata": {}}
        return await self._change(session_id, user_id, _ALIVE, emptied, Change.DELETED)

    async def update(self, session_id: str, values: Mapping[str, Any], user_id: str | None = None) -> Session | None:
        """Replace the named columns of a session that was not deleted."""
        return await self._change(session_id, user_id, _ALIVE, values, None)

    async def page(self, user_id: str | None, status: Status | None, limit: int, cursor: int | None) -> Page:
        """Sessions, newest first; tombstones only where they are asked for."""
        query = select(sessions).order_by(sessions.c.id.desc()).limit(limit + 1)
        query = query.where(sessions.c.status == status if status else sessions.c.status != Status.DELETED)
        if user_id is not None:
            query = query.where(sessions.c.user_id == user_id)
        if cursor is not None:
            query = query.where(sessions.c.id < cursor)
        rows = await self._database.read(lambda connection: connection.execute(query).mappings().all())
        more = len(rows) > limit
        return Page(tuple(_session(row) for row in rows[:limit]), rows[limit - 1]["id"] if more else None)

    def _create(self, connection: Connection, missing: Sequence[Wanted]) -> tuple[Known, Known, list[Event]]:
        """Insert what is still missing now.

        Gives what was inserted, what another writer had inserted before, and the events to tell.
        """
        now = dt.datetime.now(dt.UTC)
        first = {one.session_id: one for one in reversed(missing)}
        new = [Session(**_values(first[session_id], now)) for session_id in sorted(first)]
        inserted = connection.execute(_insert_new(connection), [_row(session) for session in new])
        created_ids = set(inserted.scalars())
        created = {session.session_id: session for session in new if session.session_id in created_ids}
        events = self._events.append(connection, Change.CREATED, list(created.values()), now)
        raced = _known(connection, [session_id for session_id in first if session_id not in created])
        return created, raced, events

    async def _change(
        self,
        session_id: str,
        user_id: str | None,
        only: Sequence[Status],
        values: Mapping[str, Any],
        change: Change | None,
    ) -> Session | None:
        """Update the session where its status is one of `only`, with an event if the change is one to tell.

        With a user id, only where it is that user's. Gives the session as it is afterwards, changed or not; None where
        there never was one.
        """
        now = dt.datetime.now(dt.UTC)
        statement = (
            update(sessions)
            .where(sessions.c.session_id == session_id, sessions.c.status.in_(only))
            .values(updated_at=now, **values)
            .returning(*_COLUMNS)
        )
        if user_id is not None:
            statement = statement.where(sessions.c.user_id == user_id)

        def work(connection: Connection) -> tuple[Session | None, list[Event]]:
            row = connection.execute(statement).mappings().one_or_none()
            if row is None:
                return _known(connection, [session_id]).get(session_id), []
            changed = _session(row)
            return changed, [] if change is None else self._events.append(connection, change, [changed], now)

        session, events = await self._database.write(work)
        self._committed(events)
        return session


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


def _known(connection: Connection, session_ids: Sequence[str]) -> Known:
    if not session_ids:
        return {}
    rows = connection.execute(_select_by_ids(session_ids)).mappings()
    return {row["session_id"]: _session(row) for row in rows}


def _select_by_ids(session_ids: Sequence[str]) -> Select[Any]:
    return select(*_COLUMNS).where(sessions.c.session_id.in_(set(session_ids)))


def _insert_new(connection: Connection) -> Insert:
    """Both databases have this clause, and SQLAlchemy has it once for each."""
    insert = sqlite.insert if is_sqlite(connection) else postgresql.insert
    return insert(sessions).on_conflict_do_nothing(index_elements=["session_id"]).returning(sessions.c.session_id)


def _values(wanted: Wanted, now: dt.datetime) -> dict[str, Any]:
    return {
        "session_id": wanted.session_id,
        "user_id": wanted.user_id,
        "status": Status.ACTIVE,
        "conversation_data": wanted.conversation_data,
        "metadata": wanted.metadata,
        "created_at": now,
        "updated_at": now,
    }


def _row(session: Session) -> dict[str, Any]:
    return {column.name: getattr(session, column.name) for column in _COLUMNS}


def _session(row: RowMapping) -> Session:
    return Session(**{column.name: row[column.name] for column in _COLUMNS} | {"status": Status(row["status"])})
