"""The tables as queries use them. The migrations define them, and a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from service_kit.sql.columns import UtcDateTime, id_type

metadata: Final = MetaData()

SEQUENCE: Final = BigInteger().with_variant(Integer, "sqlite")
"""Numbers rows in the order in which they came: times may be equal, numbers are not."""

memories: Final = Table(
    "memories",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("memory_type", String(16), nullable=False),
    Column("user_id", id_type(), nullable=False),
    Column("session_id", id_type()),
    Column("content", Text, nullable=False),
    Column("search_terms", Text, nullable=False),
    Column("message_type", Text),
    Column("role", Text),
    Column("importance_score", Double, nullable=False),
    Column("context", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

session_summaries: Final = Table(
    "session_summaries",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("session_id", id_type(), nullable=False),
    Column("user_id", id_type(), nullable=False),
    Column("summary", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("compression_level", String(16)),
    Column("total_messages", Integer),
    sqlite_autoincrement=True,
)
