"""Changes existing sessions, with an event where followers have to know of the change.

On Postgres a change and its event are one statement, as in `creation`: the event counter, for which every writer waits,
is locked for no exchange with this process. SQLite has no statement like it, and no server to wait for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Select, Update, bindparam, exists, insert, literal, or_, select, true, update

from service_kit.sql.database import Database
from session_service import rows
from session_service.events import EventLog
from session_service.model import Change, Event, Session, Status
from session_service.tables import session_event_counter, session_events, sessions

_ALIVE: Final = (Status.ACTIVE, Status.ENDED)
_EVENT: Final = session_events.c

Changed: TypeAlias = tuple[Session | None, list[Event]]
"""The session as it is afterwards, None where none was changed, and the events to tell."""


@dataclass(frozen=True, slots=True)
class Changing:
    """A change of one session: the session `asked`, only as that of its `owner` where one is given, at the time `now`.

    `with_event` is the same with its event, for Postgres; where the change is none to tell, it is the statement itself.
    """

    statement: Update
    with_event: Update | Select[Any]
    change: Change | None


async def on_postgres(database: Database, changing: Changing, asked: Mapping[str, Any]) -> Changed:
    """Change one session at most; `asked` has the values that `Changing` names."""
    for row in await database.execute(changing.with_event, asked):
        session = rows.to_session(row[: len(rows.COLUMNS)])
        if changing.change is None:
            return session, []
        return session, [Event(row.number, changing.change, session.session_id, session.user_id, asked["now"])]
    return None, []


async def on_sqlite(database: Database, log: EventLog, changing: Changing, asked: Mapping[str, Any]) -> Changed:
    """Change one session at most; `asked` has the values that `Changing` names."""

    def work(connection: Connection) -> Changed:
        row = connection.execute(changing.statement, asked).one_or_none()
        session = None if row is None else rows.to_session(row)
        if session is None or changing.change is None:
            return session, []
        return session, log.append(connection, changing.change, [session], asked["now"])

    return await database.write(work)


def replacing(values: Mapping[str, Any]) -> Changing:
    """Replace the named columns of a session that was not deleted; followers are not told."""
    statement = _updating(_ALIVE, values)
    return Changing(statement, statement, None)


def _telling(change: Change, only: Sequence[Status], values: Mapping[str, Any]) -> Changing:
    """Set columns of a session whose status is one of `only`, and tell of it."""
    statement = _updating(only, values)
    changed = statement.cte("changed")
    counted = (
        update(session_event_counter)
        .where(exists(select(changed.c.session_id)))
        .values(last=session_event_counter.c.last + 1)
        .returning(session_event_counter.c.last.label("number"))
        .cte("counted")
    )
    event = select(
        counted.c.number,
        literal(change, _EVENT.change.type),
        changed.c.session_id,
        changed.c.user_id,
        changed.c.updated_at,
    ).select_from(changed.join(counted, true()))
    written = (
        insert(session_events)
        .from_select([_EVENT.number, _EVENT.change, _EVENT.session_id, _EVENT.user_id, _EVENT.at], event)
        .returning(_EVENT.number)
        .cte("written")
    )
    return Changing(statement, select(changed, written.c.number).select_from(changed.join(written, true())), change)


def _updating(only: Sequence[Status], values: Mapping[str, Any]) -> Update:
    owner = bindparam("owner", type_=sessions.c.user_id.type)
    return (
        update(sessions)
        .where(
            sessions.c.session_id == bindparam("asked"),
            sessions.c.status.in_(only),
            or_(owner.is_(None), sessions.c.user_id == owner),
        )
        .values(updated_at=bindparam("now"), **values)
        .returning(*rows.COLUMNS)
    )


# Each is made once, and read by its database in one form.
END: Final = _telling(Change.ENDED, [Status.ACTIVE], {"status": Status.ENDED})
"""End the session if it is active."""
DELETE: Final = _telling(Change.DELETED, _ALIVE, {"status": Status.DELETED, "conversation_data": {}, "metadata": {}})
"""Make a tombstone of the session, which keeps its ids and times and nothing else."""
