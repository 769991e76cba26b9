"""Takes over the rows of a `session_memories` table that an older service left behind.

Rows become memories; those that cannot, go to `session_memories_quarantine` with the reason, whole. The old table stays
under another name, so nothing is lost that this version has no word for, and the downgrade can give it back. Rows are
read and written by the thousand: memory use does not depend on their number.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from alembic import op

from memory_service.migrations import old_order, search_index
from memory_service.migrations.old_rows import (
    CERTAIN,
    MAX_ID,
    OLD_TABLE,
    NotText,
    as_memory,
    memory_id,
    plain,
    unread,
    why_not,
)
from memory_service.migrations.old_spelling import restore_spelling
from service_kit.sql.columns import UtcDateTime
from service_kit.sql.migration_log import migration_log
from service_kit.sql.revision import columns as columns_of
from service_kit.sql.revision import on_postgres

revision = "r0002"
down_revision = "r0001"

_QUARANTINE: Final = "session_memories_quarantine"
_SET_ASIDE: Final = "session_memories_before"
_BATCH: Final = 1_000

_MEMORIES: Final = sa.table(
    "memories",
    sa.column("id", sa.String),
    sa.column("memory_type", sa.String),
    sa.column("user_id", sa.String),
    sa.column("session_id", sa.String),
    sa.column("content", sa.Text),
    sa.column("search_terms", sa.Text),
    sa.column("message_type", sa.Text),
    sa.column("role", sa.Text),
    sa.column("importance_score", sa.Double),
    sa.column("context", sa.JSON),
    sa.column("metadata", sa.JSON),
    sa.column("active", sa.Boolean),
    sa.column("expires_at", UtcDateTime),
    sa.column("created_at", UtcDateTime),
    sa.column("updated_at", UtcDateTime),
)
_QUARANTINED: Final = sa.table(
    _QUARANTINE, sa.column("id", sa.Text), sa.column("reason", sa.Text), sa.column("old_row", sa.JSON)
)


class _OldRow(NamedTuple):
    """A row, its place in the old table, and how many rows before it had the same id."""

    values: dict[str, Any]
    number: int
    earlier_copies: int


def upgrade() -> None:
    """Take the rows over, if there are any."""
    op.create_table(
        _QUARANTINE,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("old_row", sa.JSON, nullable=False),
    )
    columns = columns_of(OLD_TABLE)
    if not set(CERTAIN) <= columns.keys():
        return
    search_index.remove()
    not_understood = Counter[str]()
    with _readable_text():
        total = old_order.note(has_times="created_at" in columns)
        for done, batch in enumerate(_old_rows(columns.keys())):
            not_understood.update(_take_over(batch))
            migration_log().progress(OLD_TABLE, min((done + 1) * _BATCH, total), total)
    old_order.forget()
    for name, count in sorted(not_understood.items()):
        migration_log().notes.append(
            f"{OLD_TABLE}.{name}: {count} values cannot be read; they are kept in the metadata, as they were"
        )
    restore_spelling([name for name in CERTAIN if isinstance(columns[name]["type"], sa.Uuid)])
    search_index.make()
    op.rename_table(OLD_TABLE, _SET_ASIDE)
    migration_log().notes.append(f"{OLD_TABLE} is now {_SET_ASIDE}; drop it when nothing needs it any more")


def downgrade() -> None:
    """Give the old table back, without what was deleted since. The memories stay: the next upgrade knows them.

    Rows without an id of their own cannot be told from others, and stay.
    """
    if columns := columns_of(_SET_ASIDE):
        if "id" in columns:
            kind = "" if on_postgres() else " AND typeof(id) <> 'blob'"
            op.execute(
                f"DELETE FROM {_SET_ASIDE} WHERE length(CAST(id AS TEXT)) BETWEEN 1 AND {MAX_ID}{kind}"
                " AND CAST(id AS TEXT) NOT IN (SELECT id FROM memories)"
                f" AND CAST(id AS TEXT) NOT IN (SELECT id FROM {_QUARANTINE} WHERE id IS NOT NULL)"
            )
        op.rename_table(_SET_ASIDE, OLD_TABLE)
    op.drop_table(_QUARANTINE)


@contextlib.contextmanager
def _readable_text() -> Iterator[None]:
    """SQLite may hold text that is not UTF-8, at which the driver would give up."""
    if on_postgres():
        yield
        return
    connection: Any = op.get_bind().connection.driver_connection
    connection.text_factory = _text
    try:
        yield
    finally:
        connection.text_factory = str


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NotText(raw.decode(errors="backslashreplace"))


def _old_rows(columns: Collection[str]) -> Iterator[list[_OldRow]]:
    """All old rows in the order in which they came."""
    row = "CAST(to_json(old) AS TEXT) AS old_row" if on_postgres() else "old.*"
    copies = "0"
    if "id" in columns:
        copies = (
            "CASE WHEN old.id IS NULL THEN 0 ELSE"
            f" row_number() OVER (PARTITION BY CAST(old.id AS TEXT) ORDER BY {old_order.BY}) - 1 END"
        )
    statement = sa.text(
        f"SELECT {row}, {old_order.NUMBER} AS row_number_, {copies} AS earlier_copies_"
        f" FROM {OLD_TABLE} AS old JOIN {old_order.joined()} ORDER BY {old_order.BY}"
    )
    found = op.get_bind().execute(statement, execution_options={"stream_results": True})
    for batch in found.mappings().partitions(_BATCH):
        yield [_unpacked(dict(one)) for one in batch]


def _unpacked(found: dict[str, Any]) -> _OldRow:
    number, earlier = found.pop("row_number_"), found.pop("earlier_copies_")
    if on_postgres():
        found = json.loads(found["old_row"])
    elif isinstance(found.get("id"), bytes):
        found["id"] = found["id"].hex()
    return _OldRow(found, number, earlier)


def _take_over(batch: Sequence[_OldRow]) -> Counter[str]:
    """Move some rows; which columns were not understood, and how often."""
    now = dt.datetime.now(dt.UTC)
    known = _known_ids([memory_id(old.values, old.number) for old in batch])
    kept, quarantined, not_understood = [], [], Counter[str]()
    for old in batch:
        why = why_not(old.values) or ("id occurs more than once" if old.earlier_copies else None)
        if why:
            whole = {name: plain(value) for name, value in old.values.items()}
            old_id = old.values.get("id")
            quarantined.append({"id": None if old_id is None else str(old_id), "reason": why, "old_row": whole})
            migration_log().quarantined[_QUARANTINE, why] += 1
        elif memory_id(old.values, old.number) not in known:
            memory = as_memory(old.values, now, old.number)
            not_understood.update(unread(memory))
            kept.append(memory)
    connection = op.get_bind()
    if kept:
        connection.execute(sa.insert(_MEMORIES), kept)
        migration_log().kept["memories"] += len(kept)
    if quarantined:
        connection.execute(sa.insert(_QUARANTINED), quarantined)
    return not_understood


def _known_ids(ids: Sequence[str]) -> set[str]:
    """Those of the ids that an earlier upgrade took over."""
    return set(op.get_bind().execute(sa.select(_MEMORIES.c.id).where(_MEMORIES.c.id.in_(ids))).scalars())
