"""The order in which the rows of the old table came: by the time that they tell, then by their place in the table.

Times are read here, not by the database: one spelling of a time sorts before another as text, and a column of text or
of numbers holds several. The order is noted in a temporary table, so memory use does not depend on the number of rows.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from memory_service.migrations.old_rows import OLD_TABLE, old_time
from service_kit.sql.old_values import Unreadable
from service_kit.sql.revision import execute, has_rowid, on_postgres

NUMBER: Final = "came.number"
BY: Final = "came.at IS NULL, came.at, came.number"
"""Rows that tell no time come last, in the order of the table."""

_NOTED: Final = "old_session_memories_order"
_BATCH: Final = 1_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def note(*, has_times: bool) -> int:
    """Note the order of all rows, and say how many there are."""
    connection = op.get_bind()
    place, shown, given, kind, lasts = _place(), _place(), ":place", "BLOB", ""
    if place == "ctid":
        shown, given, kind = "CAST(ctid AS TEXT)", "CAST(CAST(:place AS TEXT) AS tid)", "tid"
        lasts = " ON COMMIT DROP"
    execute(f"CREATE TEMPORARY TABLE {_NOTED} (place {kind}, at BIGINT, number BIGINT){lasts}")
    time = "CAST(created_at AS TEXT)" if has_times else "NULL"
    statement = sa.text(f"SELECT {shown} AS place, {time} AS at FROM {OLD_TABLE} ORDER BY {place}")
    kept = sa.text(f"INSERT INTO {_NOTED} VALUES ({given}, :at, :number)")
    found = connection.execute(statement, execution_options={"stream_results": True})
    total = 0
    for batch in found.partitions(_BATCH):
        rows = [{"place": row.place, "at": _microseconds(row.at), "number": total + n} for n, row in enumerate(batch)]
        connection.execute(kept, rows)
        total += len(rows)
    execute(f"CREATE INDEX {_NOTED}_places ON {_NOTED} (place)")
    return total


def forget() -> None:
    """Drop what was noted. Postgres does at the end of the transaction: the cursor over the rows is still open."""
    if not on_postgres():
        execute(f"DROP TABLE {_NOTED}")


def joined() -> str:
    """The noted order, to be joined with the old rows, which are called `old`."""
    return f"{_NOTED} AS came ON came.place = old.{_place()}"


def _microseconds(value: Any) -> int | None:
    with suppress(Unreadable):
        time = old_time(value)
        return None if time is None else (time - _EPOCH) // dt.timedelta(microseconds=1)
    return None


def _place() -> str:
    """The column that says where a row stands."""
    if on_postgres():
        return "ctid"
    return "rowid" if has_rowid(OLD_TABLE) else "id"
