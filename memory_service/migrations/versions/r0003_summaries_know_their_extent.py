"""A summary keeps its level and the number of its messages, so that a current one is not made again.

Summaries from before do not know it: they are made anew when they are asked for.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0003"
down_revision = "r0002"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("session_summaries", sa.Column("compression_level", sa.String(16)))
    op.add_column("session_summaries", sa.Column("total_messages", sa.Integer))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("session_summaries", "total_messages")
    op.drop_column("session_summaries", "compression_level")
