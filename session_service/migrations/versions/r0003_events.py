"""Events of sessions, and the counter that numbers them.

The numbers of a new history start at the present time in milliseconds. So a follower that still holds a number of an
earlier history (another database, or this one before a downgrade) holds one that is too low, and is told so.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

from service_kit.sql.columns import UtcDateTime, id_type

revision = "r0003"
down_revision = "r0002"

_NOTIFY = """
CREATE FUNCTION session_event_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('session_events', TG_TABLE_SCHEMA);
    RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE TRIGGER session_event_written AFTER INSERT ON session_events
FOR EACH STATEMENT EXECUTE FUNCTION session_event_written()
"""


def upgrade() -> None:
    """Begin a history."""
    op.create_table(
        "session_events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("change", sa.String(16), nullable=False),
        sa.Column("session_id", id_type(), nullable=False),
        sa.Column("user_id", id_type(), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    counter = op.create_table(
        "session_event_counter",
        sa.Column("base", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    base = time.time_ns() // 1_000_000
    op.bulk_insert(counter, [{"base": base, "last": base}])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_NOTIFY)
        op.execute(_TRIGGER)


def downgrade() -> None:
    """End the history: followers are told so when they meet the next one."""
    op.drop_table("session_event_counter")
    op.drop_table("session_events")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION session_event_written()")
