"""The tables as the queries see them; `migrations/` makes them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import JSON, BigInteger, Column, Dialect, Integer, MetaData, String, Table
from sqlalchemy.types import TypeDecorator

from service_kit.sql.columns import UtcDateTime, id_type

_Process = Callable[[Any], Any]

_log = structlog.get_logger()


def _lenient(process: _Process | None, fallback: Any) -> _Process:
    """Read a value; one that cannot be read costs itself, not the answers that show its session, and is logged."""

    def read(value: Any) -> Any:
        try:
            return value if process is None else process(value)
        except (ValueError, TypeError) as error:
            _log.warning("a value of a session cannot be read", value=repr(value)[:100], error=str(error))
            return fallback

    return read


class ReadableJson(TypeDecorator[Any]):
    """JSON; what another program wrote there that is none reads as an empty object."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> _Process:
        """How a stored value is read."""
        return _lenient(super().result_processor(dialect, coltype), {})


class ReadableTime(UtcDateTime):
    """A time; what another program wrote there that is none reads as 1970."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> _Process:
        """How a stored value is read."""
        return _lenient(super().result_processor(dialect, coltype), dt.datetime.fromtimestamp(0, dt.UTC))


metadata: Final = MetaData()

sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("session_id", id_type(), nullable=False, unique=True),
    Column("user_id", id_type(), nullable=False),
    Column("status", String(16), nullable=False),
    Column("conversation_data", ReadableJson, nullable=False),
    Column("metadata", ReadableJson, nullable=False),
    Column("created_at", ReadableTime, nullable=False),
    Column("updated_at", ReadableTime, nullable=False),
)

session_events: Final = Table(
    "session_events",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("change", String(16), nullable=False),
    Column("session_id", id_type(), nullable=False),
    Column("user_id", id_type(), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

session_event_counter: Final = Table(
    "session_event_counter",
    metadata,
    Column("base", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
)
"""One row. A writer of events updates it first and so holds its lock until the commit: see `store`."""
