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
    """Remove the table if it is empty: sessions are never thrown away by a downgrade."""
    if op.get_bind().execute(sa.text("SELECT count(*) FROM sessions")).scalar_one() == 0:
        op.drop_table("sessions")
