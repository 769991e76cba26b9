"""Takes over JSON and times of an old `sessions` table row by row: what lies in a column is not always readable.

A value that cannot be read goes to `session_values_quarantine` with the reason, as it was; its session is kept with the
column's default, because a session that disappears is one that another user can claim. Rows are read and written by the
thousand: memory use does not depend on their number.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from service_kit.sql.columns import UtcDateTime
from service_kit.sql.migration_log import migration_log
from service_kit.sql.old_values import Unreadable, read_json, read_time
from service_kit.sql.revision import count, execute, fetch, has_table, on_postgres

QUARANTINE: Final = "session_values_quarantine"
JSON_COLUMNS: Final = ("conversation_data", "metadata")
TIME_COLUMNS: Final = ("created_at", "updated_at")

_AT_ONCE: Final = 1_000
_AS_STORED: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?").fullmatch
_SESSIONS: Final = sa.table(
    "sessions",
    sa.column("id", sa.BigInteger),
    *(sa.column(name, sa.JSON) for name in JSON_COLUMNS),
    *(sa.column(name, UtcDateTime) for name in TIME_COLUMNS),
)
_READERS: Final[dict[str, Callable[[str | bytes], Any]]] = {
    **dict.fromkeys(JSON_COLUMNS, read_json),
    **dict.fromkeys(TIME_COLUMNS, read_time),
}


def take_over(sources: dict[str, str]) -> None:
    """Fill the columns from their sources: themselves, or an old column that is dropped afterwards."""
    if not has_table(QUARANTINE):
        kind = "TEXT" if on_postgres() else "BLOB"  # SQLite: of any type, as it was
        execute(
            f"CREATE TABLE {QUARANTINE} (session_id TEXT, column_name TEXT NOT NULL,"
            f" quarantine_reason TEXT NOT NULL, old_value {kind})"
        )
    if not sources:
        return
    for batch in _batches(sources):
        _write(sources, batch)
    old = [source for name, source in sources.items() if source != name]
    if old:
        with op.batch_alter_table("sessions") as table:
            for name in old:
                table.drop_column(name)


def _batches(sources: dict[str, str]) -> Iterator[list[Any]]:
    """The rows in the order of their numbers, with every value as text."""
    kind = "TEXT" if on_postgres() else "BLOB"  # bytes: SQLite holds text that is not UTF-8
    listed = ", ".join(f"CAST({source} AS {kind}) AS {name}" for name, source in sources.items())
    total, done, last = count("sessions"), 0, -(2**62)
    while rows := fetch(f"SELECT id, {listed} FROM sessions WHERE id > :last ORDER BY id LIMIT {_AT_ONCE}", last=last):
        yield rows
        last, done = rows[-1].id, done + len(rows)
        migration_log().progress("sessions", done, total)


def _write(sources: dict[str, str], rows: list[Any]) -> None:
    """Write what differs from what is there."""
    changed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    unreadable: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for name, source in sources.items():
            raw = getattr(row, name)
            if raw is None:
                continue
            try:
                value = _READERS[name](raw)
            except Unreadable:
                unreadable[name].append(row.id)
                continue
            if source != name or not _is_as_stored(name, raw):
                changed[name].append({"number": row.id, "value": value})
    for name, found in unreadable.items():
        _set_aside(name, sources[name], found)
        if sources[name] == name:
            default: Any = {} if name in JSON_COLUMNS else dt.datetime.now(dt.UTC)
            changed[name] += [{"number": number, "value": default} for number in found]
    for name, values in changed.items():
        statement = sa.update(_SESSIONS).where(_SESSIONS.c.id == sa.bindparam("number"))
        op.get_bind().execute(statement.values({name: sa.bindparam("value")}), values)


def _is_as_stored(name: str, raw: str | bytes) -> bool:
    """Whether the service would have written the value in the same way, so that it can stay."""
    text = raw if isinstance(raw, str) else raw.decode()
    if name in JSON_COLUMNS:
        return text.lstrip()[:1] not in {'"', "n"}  # text within JSON, or null
    return on_postgres() or _AS_STORED(text) is not None


def _set_aside(name: str, source: str, numbers: list[int]) -> None:
    value = f"CAST({source} AS TEXT)" if on_postgres() else source
    listed = ", ".join(str(number) for number in numbers)
    execute(
        f"INSERT INTO {QUARANTINE} SELECT session_id, '{name}', 'unreadable_{name}', {value}"
        f" FROM sessions WHERE id IN ({listed})"
    )
    migration_log().quarantined[QUARANTINE, f"unreadable_{name}"] += len(numbers)
