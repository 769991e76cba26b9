"""Session events in the database: numbered so that a follower that has seen a number has seen every lower one.

The one row of the counter is updated by every transaction that writes events, and stays locked until that transaction
has committed. So numbers are given in the order of commits, and have no gaps.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from service_kit.sql.database import Database, repeated_if_stale
from session_service.model import Change, Event, History, Session
from session_service.tables import session_event_counter, session_events


class EventLog:
    """Appends events, reads them and forgets old ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self, connection: Connection, change: Change, changed: Sequence[Session], at: dt.datetime
    ) -> list[Event]:
        """Write an event for each session within the caller's transaction, as the last thing before its commit."""
        if not changed:
            return []
        taken = (
            update(session_event_counter)
            .values(last=session_event_counter.c.last + len(changed))
            .returning(session_event_counter.c.last)
        )
        last = connection.execute(taken).scalar_one()
        events = [
            Event(number, change, session.session_id, session.user_id, at)
            for number, session in enumerate(changed, start=last - len(changed) + 1)
        ]
        connection.execute(insert(session_events), [_row(event) for event in events])
        return events

    @repeated_if_stale
    async def history(self) -> History:
        """How far the events reach at this moment."""
        row = await self._database.read(lambda connection: connection.execute(select(session_event_counter)).one())
        return History(base=row.base, last=row.last)

    @repeated_if_stale
    async def after(self, number: int, limit: int) -> list[Event]:
        """The next events after a number, in order. Where the first is not `number + 1`, some were pruned."""
        query = (
            select(session_events)
            .where(session_events.c.number > number)
            .order_by(session_events.c.number)
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Event(row.number, Change(row.change), row.session_id, row.user_id, row.at) for row in rows]

    @repeated_if_stale
    async def prune(self, keep: int) -> None:
        """Forget all but the newest `keep` events."""
        oldest_kept = (await self.history()).last - keep
        statement = delete(session_events).where(session_events.c.number <= oldest_kept)
        await self._database.write(lambda connection: connection.execute(statement).close())


def _row(event: Event) -> dict[str, Any]:
    return {
        "number": event.number,
        "change": event.change,
        "session_id": event.session_id,
        "user_id": event.user_id,
        "at": event.at,
    }
