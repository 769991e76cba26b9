"""What the revisions ask of a database, in few words."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def column_types(table: str) -> dict[str, sa.types.TypeEngine[Any]]:
    """The columns of a table and their types; none where there is no such table."""
    inspector = sa.inspect(op.get_bind())
    found = inspector.get_columns(table) if inspector.has_table(table) else []
    return {column["name"]: column["type"] for column in found}


def on_postgres() -> bool:
    """Whether this is Postgres; otherwise it is SQLite."""
    return op.get_bind().dialect.name == "postgresql"
