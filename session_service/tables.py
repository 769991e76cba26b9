"""The tables as the queries see them; `migrations/` makes them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData, String, Table

from service_kit.columns import UtcDateTime, id_type

metadata: Final = MetaData()

sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("session_id", id_type(), nullable=False, unique=True),
    Column("user_id", id_type(), nullable=False),
    Column("status", String(16), nullable=False),
    Column("conversation_data", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
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
"""One row. Whoever writes events updates it first and so holds its lock until the commit: see `store`."""
