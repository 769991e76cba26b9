"""A statement that inserts no event notifies no process: one statement may find some sessions and create none."""

from __future__ import annotations

from alembic import op

revision = "r0004"
down_revision = "r0003"

_NOTIFY = """
CREATE OR REPLACE FUNCTION session_event_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM written) THEN PERFORM pg_notify('session_events', TG_TABLE_SCHEMA); END IF;
    RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE TRIGGER session_event_written AFTER INSERT ON session_events REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION session_event_written()
"""
_NOTIFY_ALWAYS = """
CREATE OR REPLACE FUNCTION session_event_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('session_events', TG_TABLE_SCHEMA);
    RETURN NULL;
END $$
"""
_TRIGGER_ALWAYS = """
CREATE TRIGGER session_event_written AFTER INSERT ON session_events
FOR EACH STATEMENT EXECUTE FUNCTION session_event_written()
"""


def upgrade() -> None:
    """Notify of events alone."""
    _replace(_NOTIFY, _TRIGGER)


def downgrade() -> None:
    """Notify of every statement."""
    _replace(_NOTIFY_ALWAYS, _TRIGGER_ALWAYS)


def _replace(function: str, trigger: str) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP TRIGGER session_event_written ON session_events")
    op.execute(function)
    op.execute(trigger)
