"""Memories of all types in one table, found by their terms; and the summaries of sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from memory_service.migrations import search_index
from service_kit.columns import UtcDateTime, id_type

revision = "r0001"
down_revision = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables and what they are searched by."""
    _create_memories()
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
    search_index.make()


def downgrade() -> None:
    """Remove the tables and all that is in them."""
    search_index.remove()
    op.drop_table("session_summaries")
    op.drop_table("memories")


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
