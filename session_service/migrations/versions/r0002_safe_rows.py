"""The shape that the queries rely on: every row has a safe id and an owner, and every column its type.

Rows that cannot be kept move to `sessions_quarantine` with the reason, whole. Columns that are not this service's stay
as they are. The downgrade brings quarantined rows back and puts tombstones aside, where an older program cannot take
them for live sessions; the next upgrade finds them there.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

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
    """Give every row the columns, sort out the broken rows, then hold ids to their type."""
    _put_foreign_columns_aside()
    _widen_number()
    _shape_columns()
    if _has_table(_ASIDE):
        _move(_ASIDE, "sessions")
    _quarantine_broken_rows()
    _shape_ids()
    op.create_index("sessions_by_user", "sessions", ["user_id", "id"])


def downgrade() -> None:
    """Let go of what the old shape had no words for; lose nothing."""
    op.drop_index("sessions_by_user", "sessions")
    with op.batch_alter_table("sessions") as table:
        table.alter_column("user_id", existing_type=sa.String(255), nullable=True)
        for name, kind, *_ in _COLUMNS:
            table.alter_column(name, existing_type=kind, nullable=True)
    _execute(f"CREATE TABLE {_ASIDE} AS SELECT * FROM sessions WHERE status = 'deleted'")
    _execute("DELETE FROM sessions WHERE status = 'deleted'")
    _move(_QUARANTINE, "sessions")


def _quarantine_broken_rows() -> None:
    why = why_broken(op.get_bind())
    _execute(
        f"CREATE TABLE {_QUARANTINE} AS SELECT {why} AS quarantine_reason, sessions.* FROM sessions"
        f" WHERE {why} IS NOT NULL"
    )
    _execute(f"DELETE FROM sessions WHERE {why} IS NOT NULL")


def _put_foreign_columns_aside() -> None:
    """Rename columns that have a name of ours but cannot be ours, and let no unknown column refuse new rows."""
    present = _columns("sessions")
    with op.batch_alter_table("sessions") as table:
        for name, _, kind, _, _ in _COLUMNS:
            column = present.pop(name, None)
            if column is not None and not (isinstance(column["type"], kind) and (name != "status" or _statuses_fit())):
                table.alter_column(name, new_column_name=f"old_{name}", existing_type=column["type"], nullable=True)
        for name, column in present.items():
            if name not in {"id", "session_id", "user_id"} and not column["nullable"] and column["default"] is None:
                table.alter_column(name, existing_type=column["type"], nullable=True)


def _statuses_fit() -> bool:
    found = op.get_bind().execute(sa.text(f"SELECT 1 FROM sessions WHERE status NOT IN {_STATUSES} LIMIT 1"))
    return found.first() is None


def _shape_ids() -> None:
    present = _columns("sessions")
    with op.batch_alter_table("sessions") as table:
        for name in ("session_id", "user_id"):
            existing, text = present[name]["type"], sa.String(255)
            table.alter_column(
                name, existing_type=existing, type_=text, nullable=False, postgresql_using=f"{name}::varchar(255)"
            )
        if not _is_unique("session_id"):
            table.create_unique_constraint("sessions_session_id_key", ["session_id"])


def _widen_number() -> None:
    """Room for more rows. SQLite has it, and numbers rows by itself only for a column of exactly this type."""
    wide = sa.BigInteger() if _on_postgres() else sa.Integer()
    with op.batch_alter_table("sessions") as table:
        table.alter_column("id", existing_type=_columns("sessions")["id"]["type"], type_=wide, nullable=False)
    if _on_postgres():
        sequence = op.get_bind().execute(sa.text("SELECT pg_get_serial_sequence('sessions', 'id')")).scalar_one()
        _execute(f"ALTER SEQUENCE {sequence} AS bigint")


def _shape_columns() -> None:
    present = _columns("sessions")
    for name, _, _, _, default in _COLUMNS:
        if name in present:
            _execute(f"UPDATE sessions SET {name} = {default} WHERE {name} IS NULL")
    with op.batch_alter_table("sessions") as table:
        for name, kind, _, using, default in _COLUMNS:
            if name not in present:
                table.add_column(sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
                continue
            existing = present[name]["type"]
            if _on_postgres():  # a default of the old type would not follow the column to the new one
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
        _execute(f"UPDATE sessions SET status = {words} WHERE old_status IS NOT NULL")


def _move(source: str, target: str) -> None:
    """Take the rows of one table into another, by the columns that both have, and drop the first.

    Rows keep their number unless it was given anew meanwhile, as SQLite may do with the highest.
    """
    names = _columns(source).keys() & _columns(target).keys()
    known = f"SELECT 1 FROM {target} WHERE {target}.session_id = {source}.session_id"
    taken = f"SELECT 1 FROM {target} WHERE {target}.id = {source}.id"
    for kept, numbered in ((names, f"AND NOT EXISTS ({taken})"), (names - {"id"}, "")):
        listed = ", ".join(f'"{name}"' for name in sorted(kept))
        _execute(f"INSERT INTO {target} ({listed}) SELECT {listed} FROM {source} WHERE NOT EXISTS ({known}) {numbered}")
    op.drop_table(source)


def _execute(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)


def _on_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _has_table(name: str) -> bool:
    return sa.inspect(op.get_bind()).has_table(name)


def _columns(table: str) -> dict[str, Any]:
    return {column["name"]: column for column in sa.inspect(op.get_bind()).get_columns(table)}


def _is_unique(column: str) -> bool:
    inspector = sa.inspect(op.get_bind())
    indexes = [index["column_names"] for index in inspector.get_indexes("sessions") if index["unique"]]
    return [column] in [*indexes, *(key["column_names"] for key in inspector.get_unique_constraints("sessions"))]
