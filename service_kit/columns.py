"""Column types that both services have in common, so that ids and times are the same thing in either database."""

from __future__ import annotations

import datetime
from typing import Final

from sqlalchemy import DateTime, Dialect, String
from sqlalchemy.types import TypeDecorator

ID_LENGTH: Final = 255


def id_type() -> String:
    """The type of every column that holds a session id or a user id."""
    return String(ID_LENGTH)


class UtcDateTime(TypeDecorator[datetime.datetime]):
    """An aware time, kept in UTC. SQLite has no type for one and stores it without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=datetime.UTC)
