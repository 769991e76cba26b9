"""Finds sessions, and creates those that are missing.

On Postgres all of it is one statement, and so one exchange with the server. Its parts take their locks in the order of
`store`, since each reads what the part before it has written: the rows, in the order of their ids, then the counter.
SQLite has no statement like it, and no server to wait for: sessions are found by a query that waits for no writer, and
a transaction follows where some are missing.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Connection, column, text
from sqlalchemy.dialects import sqlite

from service_kit.sql.database import Database
from session_service import rows
from session_service.events import EventLog
from session_service.model import Change, Event, Session
from session_service.rows import Known
from session_service.tables import sessions

_INSERT_ON_SQLITE: Final = (
    sqlite.insert(sessions).on_conflict_do_nothing(index_elements=["session_id"]).returning(sessions.c.session_id)
)
# `OFFSET 0` has the index asked for each id. A join might be planned while the table is small, and go on to read all of
# it when it is large. Ids are ordered as Python orders them, independent of the database's collation.
_ENSURE: Final = text("""
WITH wanted AS (
    SELECT * FROM unnest(
        CAST(:session_ids AS varchar[]), CAST(:user_ids AS varchar[]),
        CAST(:conversation_data AS json[]), CAST(:metadata AS json[])
    ) AS wanted (session_id, user_id, conversation_data, metadata)
), known AS (
    SELECT found.* FROM wanted, LATERAL (
        SELECT session_id, user_id, status, conversation_data, metadata, created_at, updated_at
        FROM sessions WHERE sessions.session_id = wanted.session_id OFFSET 0
    ) AS found
), created AS (
    INSERT INTO sessions (session_id, user_id, status, conversation_data, metadata, created_at, updated_at)
    SELECT session_id, user_id, 'active', conversation_data, metadata,
        CAST(:at AS timestamptz), CAST(:at AS timestamptz)
    FROM wanted WHERE session_id NOT IN (SELECT session_id FROM known)
    ORDER BY session_id COLLATE "C"
    ON CONFLICT (session_id) DO NOTHING
    RETURNING session_id, user_id
), counted AS (
    UPDATE session_event_counter SET last = last + (SELECT count(*) FROM created)
    WHERE EXISTS (SELECT FROM created)
    RETURNING last - (SELECT count(*) FROM created) AS before
), written AS (
    INSERT INTO session_events (number, change, session_id, user_id, at)
    SELECT before + row_number() OVER (ORDER BY session_id COLLATE "C"), 'created', session_id, user_id,
        CAST(:at AS timestamptz)
    FROM created, counted
    RETURNING number, session_id
)
SELECT known.*, NULL AS number FROM known
UNION ALL
SELECT session_id, NULL, NULL, NULL, NULL, NULL, NULL, number FROM written
ORDER BY number
""").columns(*rows.COLUMNS, column("number", BigInteger))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The sessions that were there, those that were created, and the events to tell."""

    known: Known
    created: Known
    events: Sequence[Event]


async def on_postgres(database: Database, new: Sequence[Session], at: dt.datetime) -> Outcome:
    """Ensure sessions with different ids, each as it shall be if it is created."""
    asked = {
        "session_ids": [session.session_id for session in new],
        "user_ids": [session.user_id for session in new],
        "conversation_data": [json.dumps(session.conversation_data) for session in new],
        "metadata": [json.dumps(session.metadata) for session in new],
        "at": at,
    }
    by_id = {session.session_id: session for session in new}
    known: dict[str, Session] = {}
    created: dict[str, Session] = {}
    events: list[Event] = []
    for row in await database.execute(_ENSURE, asked):
        session = by_id.pop(row.session_id)
        if row.number is None:
            known[session.session_id] = rows.to_session(row[:-1])
        else:
            created[session.session_id] = session
            events.append(Event(row.number, Change.CREATED, session.session_id, session.user_id, at))
    if by_id:  # another process has committed these meanwhile: they were neither seen nor created
        known |= await database.read(lambda connection: rows.known(connection, list(by_id)))
    return Outcome(known, created, events)


async def on_sqlite(database: Database, log: EventLog, new: Sequence[Session], at: dt.datetime) -> Outcome:
    """Ensure sessions with different ids, each as it shall be if it is created."""
    known = await database.read(lambda connection: rows.known(connection, [one.session_id for one in new]))
    missing = [session for session in new if session.session_id not in known]
    if not missing:
        return Outcome(known, {}, [])

    def create(connection: Connection) -> Outcome:
        inserted = set(connection.execute(_INSERT_ON_SQLITE, [rows.to_row(session) for session in missing]).scalars())
        created = {session.session_id: session for session in missing if session.session_id in inserted}
        events = log.append(connection, Change.CREATED, list(created.values()), at)
        raced = rows.known(connection, [one.session_id for one in missing if one.session_id not in created])
        return Outcome({**known, **raced}, created, events)

    return await database.write(create)
