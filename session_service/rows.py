"""Sessions as rows of the database, and rows as sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import ARRAY, Connection, Select, any_, bindparam, select

from service_kit.sql.engine import is_sqlite
from session_service.model import Session, Status
from session_service.tables import sessions

COLUMNS: Final = tuple(column for column in sessions.c if column is not sessions.c.id)
"""In the order of the fields of `Session`."""

Known: TypeAlias = Mapping[str, Session]

# Each is made once, and read by its database in one form, however many ids it is given.
_BY_IDS_ON_SQLITE: Final = select(*COLUMNS).where(sessions.c.session_id.in_(bindparam("ids", expanding=True)))
_BY_IDS: Final = select(*COLUMNS).where(
    sessions.c.session_id == any_(bindparam("ids", type_=ARRAY(sessions.c.session_id.type)))
)


def known(connection: Connection, session_ids: Sequence[str]) -> Known:
    """Those of the sessions that there are, tombstones included, by their ids."""
    if not session_ids:
        return {}
    query: Select[Any] = _BY_IDS_ON_SQLITE if is_sqlite(connection) else _BY_IDS
    found = map(to_session, connection.execute(query, {"ids": list(set(session_ids))}))
    return {session.session_id: session for session in found}


def to_session(row: Sequence[Any]) -> Session:
    """The session of a row of `COLUMNS`."""
    session_id, user_id, status, conversation_data, metadata, created_at, updated_at = row
    return Session(session_id, user_id, Status(status), conversation_data, metadata, created_at, updated_at)


def to_row(session: Session) -> dict[str, Any]:
    """The values of the columns."""
    return {column.name: getattr(session, column.name) for column in COLUMNS}
