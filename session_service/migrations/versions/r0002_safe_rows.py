"""The shape that the queries rely on: every row has a safe id and an owner, and every column its type.

Rows that cannot be kept move to `sessions_quarantine` with the reason, whole. Columns that are not this service's stay
as they are. The downgrade brings quarantined rows back and puts tombstones aside, where an older program cannot take
them for live sessions; the next upgrade finds them there.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from service_kit.sql.migration_log import migration_log
from service_kit.sql.revision import columns, count, execute, fetch, has_table, on_postgres
from session_service.migrations import identity, values
from session_service.migrations.database import is_unique, move_rows
from session_service.migrations.grammar import why_broken

revision = "r0002"
down_revision = "r0001"

_ASIDE: Final = "sessions_deleted"
_QUARANTINE: Final = "sessions_quarantine"
_STATUSES: Final = "('active', 'ended', 'deleted')"

# Name, type, the kind of type that can become it, how it becomes it on Postgres, and its default.
_COLUMNS: Final[list[tuple[str, sa.types.TypeEngine[Any], type[sa.types.TypeEngine[Any]], str, str]]] = [
    ("status", sa.String(16), sa.String, "{0}::varchar(16)", "'active'"),
    ("conversation_data", sa.JSON(), sa.JSON, "{0}::json", "'{}'"),
    ("metadata", sa.JSON(), sa.JSON, "{0}::json", "'{}'"),
    ("created_at", sa.DateTime(timezone=True), sa.DateTime, "{0}::timestamp AT TIME ZONE 'UTC'", "CURRENT_TIMESTAMP"),
    ("updated_at", sa.DateTime(timezone=True), sa.DateTime, "{0}::timestamp AT TIME ZONE 'UTC'", "CURRENT_TIMESTAMP"),
]


def upgrade() -> None:
    """Give every row a number and the columns, sort out the broken rows, then hold ids to their type."""
    identity.release_foreign_keys()
    identity.ids_to_text()
    sources = _put_foreign_columns_aside()
    numbered = identity.number_rows()
    _shape_columns()
    values.take_over(sources)
    if numbered:
        identity.number_by_time()
    if has_table(_ASIDE):
        move_rows(_ASIDE, "sessions")
    _quarantine_broken_rows()
    _shape_ids()
    op.create_index("sessions_by_user", "sessions", ["user_id", "id"])
    _log()


def downgrade() -> None:
    """Put aside what the old shape has no columns for; lose nothing."""
    op.drop_index("sessions_by_user", "sessions")
    with op.batch_alter_table("sessions") as table:
        table.alter_column("user_id", existing_type=sa.String(255), nullable=True)
        for name, kind, *_ in _COLUMNS:
            table.alter_column(name, existing_type=kind, nullable=True)
    execute(f"CREATE TABLE {_ASIDE} AS SELECT * FROM sessions WHERE status = 'deleted'")
    execute("DELETE FROM sessions WHERE status = 'deleted'")
    move_rows(_QUARANTINE, "sessions")
    if count(values.QUARANTINE) == 0:
        op.drop_table(values.QUARANTINE)


def _quarantine_broken_rows() -> None:
    """Rows that break a rule move out; then, of rows with the same id, all but the first."""
    why = why_broken(op.get_bind())
    if not has_table(_QUARANTINE):
        execute(
            f"CREATE TABLE {_QUARANTINE} AS SELECT CAST(NULL AS TEXT) AS quarantine_reason, sessions.* FROM sessions"
            " WHERE 1 = 0"
        )
    _set_aside(why, f"{why} IS NOT NULL")
    if not is_unique("session_id", "sessions"):
        _set_aside("'duplicate_session_id'", "id NOT IN (SELECT min(id) FROM sessions GROUP BY session_id)")


def _set_aside(reason: str, condition: str) -> None:
    names = ", ".join(f'"{name}"' for name in columns("sessions").keys() & columns(_QUARANTINE).keys())
    execute(
        f"INSERT INTO {_QUARANTINE} (quarantine_reason, {names}) SELECT {reason}, {names} FROM sessions"
        f" WHERE {condition} ORDER BY id"
    )
    execute(f"DELETE FROM sessions WHERE {condition}")


def _log() -> None:
    log = migration_log()
    log.kept["sessions"] = count("sessions")
    for reason, found in fetch(f"SELECT quarantine_reason, count(*) FROM {_QUARANTINE} GROUP BY 1"):
        log.quarantined[_QUARANTINE, reason] = found


def _put_foreign_columns_aside() -> dict[str, str]:
    """Rename columns that have a name of ours and another type, and let no unknown column refuse new rows.

    Gives the columns whose values are to be read, each with where they stand now.
    """
    present = columns("sessions")
    sources: dict[str, str] = {}
    with op.batch_alter_table("sessions") as table:
        for name, _, kind, _, _ in _COLUMNS:
            column = present.pop(name, None)
            if column is None:
                continue
            fits = isinstance(column["type"], kind) and (name != "status" or _statuses_fit())
            if name != "status":
                sources[name] = name if fits else f"old_{name}"
            if not fits:
                table.alter_column(name, new_column_name=f"old_{name}", existing_type=column["type"], nullable=True)
        for name, column in present.items():
            if name not in {"id", "session_id", "user_id"} and not column["nullable"] and column["default"] is None:
                table.alter_column(name, existing_type=column["type"], nullable=True)
    return sources


def _statuses_fit() -> bool:
    return not fetch(f"SELECT 1 FROM sessions WHERE status NOT IN {_STATUSES} LIMIT 1")


def _shape_ids() -> None:
    with op.batch_alter_table("sessions") as table:
        for name in identity.IDS:
            table.alter_column(
                name,
                existing_type=sa.Text() if on_postgres() else sa.String(255),
                type_=sa.String(255),
                nullable=False,
                postgresql_using=f"{name}::varchar(255)",
            )
        if not is_unique("session_id", "sessions"):
            table.create_unique_constraint("sessions_session_id_key", ["session_id"])


def _shape_columns() -> None:
    present = columns("sessions")
    for name, _, _, _, default in _COLUMNS:
        if name in present:
            execute(f"UPDATE sessions SET {name} = {default} WHERE {name} IS NULL")
    with op.batch_alter_table("sessions") as table:
        for name, kind, _, using, default in _COLUMNS:
            if name not in present:
                table.add_column(sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
                continue
            existing = present[name]["type"]
            if on_postgres():  # a default of the old type would not follow the column to the new one
                table.alter_column(name, existing_type=existing, server_default=None)
            same_zone = getattr(existing, "timezone", False)
            table.alter_column(
                name,
                existing_type=existing,
                type_=kind,
                nullable=False,
                postgresql_using=name if same_zone else using.format(name),
            )
            table.alter_column(name, existing_type=kind, server_default=sa.text(default))
    if "old_status" in present and "status" not in present:
        words = f"CASE WHEN lower(old_status) IN {_STATUSES} THEN lower(old_status) ELSE 'ended' END"
        execute(f"UPDATE sessions SET status = {words} WHERE old_status IS NOT NULL")
