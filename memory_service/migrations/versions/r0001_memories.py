"""Memories of all types in one table, found by their terms; and the summaries of sessions.

A downgrade throws no memory away: it puts the tables aside, and the next upgrade finds them there. Tables of the same
names that another program made are kept under another name, and given back by the downgrade.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from memory_service.migrations import search_index
from service_kit.sql.columns import UtcDateTime, id_type
from service_kit.sql.migration_log import migration_log
from service_kit.sql.revision import has_table, is_empty

revision = "r0001"
down_revision = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables and what they are searched by."""
    _bring_back("memories", _create_memories)
    _bring_back("session_summaries", _create_summaries)
    search_index.make()


def downgrade() -> None:
    """Put the tables aside, or remove them where they are empty."""
    search_index.remove()
    _put_aside("memories")
    _put_aside("session_summaries")


def _bring_back(table: str, create: Callable[[], None]) -> None:
    if has_table(table):
        op.rename_table(table, f"{table}_before")
        migration_log().notes.append(f"the table {table} of another program is now {table}_before, unchanged")
    if has_table(f"{table}_aside"):
        op.rename_table(f"{table}_aside", table)
    else:
        create()


def _put_aside(table: str) -> None:
    if is_empty(table):
        op.drop_table(table)
    else:
        op.rename_table(table, f"{table}_aside")
    if has_table(f"{table}_before"):
        op.rename_table(f"{table}_before", table)


def _create_memories() -> None:
    op.create_table(
        "memories",
        sa.Column("seq", _SEQUENCE, primary_key=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("memory_type", sa.String(16), nullable=False),
        sa.Column("user_id", id_type(), nullable=False),
        sa.Column("session_id", id_type()),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("search_terms", sa.Text, nullable=False),
        sa.Column("message_type", sa.Text),
        sa.Column("role", sa.Text),
        sa.Column("importance_score", sa.Double, nullable=False),
        sa.Column("context", sa.JSON, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("memories_by_user", "memories", ["user_id", "memory_type", "seq"])
    op.create_index("memories_by_session", "memories", ["session_id", "user_id", "seq"])
    op.create_index("memories_by_expiry", "memories", ["expires_at"])


def _create_summaries() -> None:
    op.create_table(
        "session_summaries",
        sa.Column("seq", _SEQUENCE, primary_key=True),
        sa.Column("session_id", id_type(), nullable=False),
        sa.Column("user_id", id_type(), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("session_summaries_by_session", "session_summaries", ["session_id", "user_id", "seq"])
