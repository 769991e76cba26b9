"""What a revision of a schema asks of its database, in few words."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def execute(statement: str) -> None:
    """Run one statement, as it is written."""
    op.get_bind().exec_driver_sql(statement)


def fetch(statement: str, **values: Any) -> list[Any]:
    """The rows of a query."""
    return list(op.get_bind().execute(sa.text(statement), values))


def count(table: str) -> int:
    """How many rows a table has."""
    return int(op.get_bind().execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one())


def is_empty(table: str) -> bool:
    """Whether a table has no row."""
    return op.get_bind().execute(sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)).first() is None


def on_postgres() -> bool:
    """Whether this is Postgres; otherwise it is SQLite."""
    return op.get_bind().dialect.name == "postgresql"


def has_table(name: str) -> bool:
    """Whether there is such a table."""
    return sa.inspect(op.get_bind()).has_table(name)


def columns(table: str) -> dict[str, Any]:
    """The columns of a table by name, as SQLAlchemy's inspector describes them; none where there is no such table."""
    inspector = sa.inspect(op.get_bind())
    found = inspector.get_columns(table) if inspector.has_table(table) else []
    return {column["name"]: column for column in found}


def has_rowid(table: str) -> bool:
    """Whether a table of SQLite numbers its rows by itself, in `rowid`."""
    return not fetch("SELECT 1 FROM pragma_table_list(:name) WHERE wr = 1", name=table)
