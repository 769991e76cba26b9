"""What the revisions do with a table of sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service_kit.sql.revision import columns, count, execute


def is_unique(column: str, table: str) -> bool:
    """Whether the table holds each value of the column once."""
    inspector = sa.inspect(op.get_bind())
    indexes = [index["column_names"] for index in inspector.get_indexes(table) if index["unique"]]
    keys = [key["column_names"] for key in inspector.get_unique_constraints(table)]
    return [column] in [*indexes, *keys, inspector.get_pk_constraint(table)["constrained_columns"]]


def move_rows(source: str, target: str) -> None:
    """Take the rows of one table of sessions into another, by the columns that both have.

    A row that the target has no room for, because its session id is missing or taken, stays; a source without rows is
    dropped. Rows keep their number unless it was given anew meanwhile, as SQLite may do with the highest.
    """
    names = columns(source).keys() & columns(target).keys()
    unknown = f"NOT EXISTS (SELECT 1 FROM {target} WHERE {target}.session_id = {source}.session_id)"
    unnumbered = f"NOT EXISTS (SELECT 1 FROM {target} WHERE {target}.id = {source}.id)"
    execute(
        f"CREATE TEMPORARY TABLE moving AS SELECT min(id) AS id FROM {source}"
        f" WHERE session_id IS NOT NULL AND {unknown} GROUP BY session_id"
    )
    moving = f"{source}.id IN (SELECT id FROM moving)"
    for kept, condition in ((names, f"{unknown} AND {unnumbered}"), (names - {"id"}, unknown)):
        listed = ", ".join(f'"{name}"' for name in sorted(kept))
        execute(f"INSERT INTO {target} ({listed}) SELECT {listed} FROM {source} WHERE {moving} AND {condition}")
    execute(f"DELETE FROM {source} WHERE {moving}")
    execute("DROP TABLE moving")
    if count(source) == 0:
        op.drop_table(source)
