"""The shape that this service takes over: adopts a `sessions` table that is already there, or makes one like it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None


def upgrade() -> None:
    """Make the table where there is none."""
    if sa.inspect(op.get_bind()).has_table("sessions"):
        return
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("session_id", sa.String(255), nullable=False, unique=True),
        sa.Column("user_id", sa.String(255)),
    )


def downgrade() -> None:
    """Remove the table if there never was a session in it: none is thrown away by a downgrade."""
    if _is_empty("sessions") and _is_empty("sessions_deleted"):
        op.drop_table("sessions")
        op.drop_table("sessions_deleted")


def _is_empty(table: str) -> bool:
    return op.get_bind().execute(sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)).first() is None
