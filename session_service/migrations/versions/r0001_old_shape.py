"""The old shape of the schema: adopts a `sessions` table that exists, or makes one like it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service_kit.sql.revision import has_table, is_empty

revision = "r0001"
down_revision = None


def upgrade() -> None:
    """Make the table where there is none."""
    if has_table("sessions"):
        return
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("session_id", sa.String(255), nullable=False, unique=True),
        sa.Column("user_id", sa.String(255)),
    )


def downgrade() -> None:
    """Remove the table if there never was a session in it: none is thrown away by a downgrade."""
    if is_empty("sessions") and is_empty("sessions_deleted"):
        op.drop_table("sessions")
        op.drop_table("sessions_deleted")
