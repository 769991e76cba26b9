"""Takes over the rows of a `session_memories` table that an older service left behind.

Rows become memories; those that cannot, go to `session_memories_quarantine` with the reason, whole. The old table stays
under another name, so nothing is lost that this version has no word for, and the downgrade can give it back. Rows are
read and written by the thousand: memory use does not depend on their number.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from memory_service.migrations import search_index
from memory_service.migrations.old_rows import CERTAIN, OLD_TABLE, as_memory, why_not
from service_kit.columns import UtcDateTime

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


def upgrade() -> None:
    """Take the rows over, if there are any."""
    op.create_table(
        _QUARANTINE,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("old_row", sa.JSON, nullable=False),
    )
    columns = _columns(OLD_TABLE)
    if not set(CERTAIN) <= columns:
        return
    search_index.remove()
    for batch in _old_rows(columns):
        _take_over(batch)
    search_index.make()
    op.rename_table(OLD_TABLE, _SET_ASIDE)


def downgrade() -> None:
    """Give the old table back, without what was deleted since. The memories stay: the next upgrade knows them."""
    if _columns(_SET_ASIDE):
        op.execute(
            f"DELETE FROM {_SET_ASIDE} WHERE CAST(id AS TEXT) NOT IN (SELECT id FROM memories)"
            f" AND CAST(id AS TEXT) NOT IN (SELECT id FROM {_QUARANTINE} WHERE id IS NOT NULL)"
        )
        op.rename_table(_SET_ASIDE, OLD_TABLE)
    op.drop_table(_QUARANTINE)


def _old_rows(columns: set[str]) -> Iterator[list[tuple[dict[str, Any], int]]]:
    """All old rows in the order in which they came, and for each how many rows before it had the same id."""
    order = "created_at, id" if "created_at" in columns else "id"
    row = "CAST(to_json(old) AS TEXT) AS old_row" if _on_postgres() else "old.*"
    earlier = f"row_number() OVER (PARTITION BY id ORDER BY {order}) - 1 AS earlier_copies"
    statement = sa.text(f"SELECT {row}, {earlier} FROM {OLD_TABLE} AS old ORDER BY {order}")
    found = op.get_bind().execute(statement, execution_options={"stream_results": True})
    for batch in found.mappings().partitions(_BATCH):
        yield [_unpacked(dict(one)) for one in batch]


def _unpacked(found: dict[str, Any]) -> tuple[dict[str, Any], int]:
    earlier = found.pop("earlier_copies")
    if _on_postgres():
        return json.loads(found["old_row"]), earlier
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in found.items()}, earlier


def _take_over(batch: Sequence[tuple[dict[str, Any], int]]) -> None:
    now = dt.datetime.now(dt.UTC)
    known = _known_ids([old["id"] for old, _ in batch])
    kept, quarantined = [], []
    for old, earlier_copies in batch:
        why = why_not(old) or ("id occurs more than once" if earlier_copies else None)
        if why:
            quarantined.append({"id": old["id"], "reason": why, "old_row": old})
        elif old["id"] not in known:
            kept.append(as_memory(old, now))
    connection = op.get_bind()
    if kept:
        connection.execute(sa.insert(_MEMORIES), kept)
    if quarantined:
        connection.execute(sa.insert(_QUARANTINED), quarantined)


def _known_ids(ids: Sequence[Any]) -> set[str]:
    """Those of the ids that an earlier upgrade took over."""
    texts = [one for one in ids if isinstance(one, str)]
    return set(op.get_bind().execute(sa.select(_MEMORIES.c.id).where(_MEMORIES.c.id.in_(texts))).scalars())


def _columns(table: str) -> set[str]:
    """The names of a table's columns; none where there is no such table."""
    inspector = sa.inspect(op.get_bind())
    return {column["name"] for column in inspector.get_columns(table)} if inspector.has_table(table) else set()


def _on_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"
