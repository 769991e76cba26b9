"""Column types that both services have in common, so that ids and times are the same thing in either database."""

from __future__ import annotations

import datetime as dt
from typing import Final

from sqlalchemy import DateTime, Dialect, String
from sqlalchemy.types import TypeDecorator

ID_LENGTH: Final = 255


def id_type() -> String:
    """The type of every column that holds a session id or a user id."""
    return String(ID_LENGTH)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware time, kept in UTC. SQLite has no type for one and stores it without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """What is stored for a time."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002 -- SQLAlchemy's signature
        """The time that was stored."""
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
