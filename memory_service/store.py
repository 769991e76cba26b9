"""Memories in the database: every query of the service, the same for SQLite and Postgres.

Memories are numbered as they come; lists are ordered by number, searches by relevance. A summary is gone as soon as a
message it may quote changes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from memory_service.model import Compression, Memory, MemoryType
from memory_service.records import Count, Summary, Which
from memory_service.search import SearchQuery, matching, ranked, search_terms
from memory_service.tables import memories, session_summaries
from service_kit.sql.database import Database, repeated_if_stale

_INSERT = insert(memories)
_FIELDS: tuple[Column[Any], ...] = tuple(memories.c[name] for name in Memory.model_fields)


class Store:
    """Reads and changes memories. Every method may raise DatabaseUnavailable.

    No method sees a memory that has expired by `now`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeated_if_stale
    async def add(self, memory: Memory, now: dt.datetime) -> None:
        """Store a new memory; it is durable when this returns. A repetition with the same id stores it once."""
        values = {**memory.model_dump(mode="python"), "search_terms": search_terms(memory.content)}

        def insert_one(connection: Connection) -> None:
            connection.execute(_INSERT, values)
            if memory.expires_at is not None:
                connection.execute(delete(memories).where(memories.c.expires_at <= now))

        try:
            await self._database.write(insert_one)
        except IntegrityError:
            if await self.get(memory.memory_type, memory.id, now) is None:
                raise

    @repeated_if_stale
    async def get(self, memory_type: MemoryType, memory_id: str, now: dt.datetime) -> Memory | None:
        """One memory, deactivated or not."""
        found = await self._read(select(*_FIELDS).where(_is(memory_type, memory_id), _alive(now)))
        return found[0] if found else None

    @repeated_if_stale
    async def change(self, memory: Memory, values: Mapping[str, Any], now: dt.datetime) -> Memory | None:
        """Replace the named fields; None where the memory is gone by now."""
        if "content" in values:
            values = {**values, "search_terms": search_terms(values["content"])}
        statement = (
            update(memories)
            .where(_is(memory.memory_type, memory.id), _alive(now))
            .values(updated_at=now, **values)
            .returning(*_FIELDS)
        )

        def update_one(connection: Connection) -> RowMapping | None:
            row = connection.execute(statement).mappings().one_or_none()
            _forget_summary(connection, memory)
            return row

        row = await self._database.write(update_one)
        return None if row is None else _memory(row)

    @repeated_if_stale
    async def remove(self, memory: Memory) -> bool:
        """Delete a memory, and say whether there was one."""

        def delete_one(connection: Connection) -> int:
            removed = connection.execute(delete(memories).where(_is(memory.memory_type, memory.id)))
            _forget_summary(connection, memory)
            return removed.rowcount

        return await self._database.write(delete_one) > 0

    @repeated_if_stale
    async def page(
        self, which: Which, before: int | None, limit: int, now: dt.datetime
    ) -> tuple[list[Memory], int | None]:
        """Up to `limit` memories with a lower number than `before`, newest first, and the number to go on from."""
        query = select(memories.c.seq, *_FIELDS).where(self._matches(which, now)).order_by(memories.c.seq.desc())
        if before is not None:
            query = query.where(memories.c.seq < before)
        rows = await self._rows(query.limit(limit + 1))
        found = [_memory(row) for row in rows[:limit]]
        return found, rows[limit - 1]["seq"] if len(rows) > limit else None

    @repeated_if_stale
    async def best(
        self, which: Which, query: SearchQuery, skip: int, limit: int, now: dt.datetime
    ) -> tuple[list[Memory], bool]:
        """Up to `limit` memories that match, best first, after those that are skipped; and whether there are more."""
        statement = select(*_FIELDS).where(self._matches(which, now))
        statement = ranked(statement, query, memories, self._database.engine.dialect)
        found = await self._read(statement.offset(skip).limit(limit + 1))
        return found[:limit], len(found) > limit

    @repeated_if_stale
    async def about(
        self, which: Which, label: str, value: str, query: SearchQuery, *, limit: int, now: dt.datetime
    ) -> list[Memory]:
        """The memories whose metadata have the value in the label, then those whose content matches; newest first."""
        labelled = memories.c.metadata[label].as_string().icontains(value, autoescape=True)
        labelled = func.coalesce(labelled, False)  # a memory without the label
        matches = or_(labelled, matching(query, memories, self._database.engine.dialect))
        order = case((labelled, 0), else_=1), memories.c.seq.desc()
        return await self._read(
            select(*_FIELDS).where(self._matches(which, now), matches).order_by(*order).limit(limit)
        )

    async def _read(self, statement: Select[tuple[Any, ...]]) -> list[Memory]:
        return [_memory(row) for row in await self._rows(statement)]

    async def _rows(self, statement: Select[tuple[Any, ...]]) -> Sequence[RowMapping]:
        return await self._database.read(lambda connection: connection.execute(statement).mappings().all())

    @repeated_if_stale
    async def count(self, which: Which, now: dt.datetime) -> list[Count]:
        """The number of memories of each type of which there are any."""
        query = (
            select(
                memories.c.memory_type,
                func.count().label("total"),
                func.min(memories.c.created_at).label("oldest_at"),
                func.max(memories.c.created_at).label("newest_at"),
            )
            .where(self._matches(which, now))
            .group_by(memories.c.memory_type)
        )
        rows = await self._rows(query)
        return [Count(**{**row, "memory_type": MemoryType(row["memory_type"])}) for row in rows]

    @repeated_if_stale
    async def count_sessions(self, user_id: str, now: dt.datetime) -> int:
        """The number of sessions in which the user has messages."""
        which = Which(user_id, [MemoryType.SESSION])
        query = select(func.count(memories.c.session_id.distinct())).where(self._matches(which, now))
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    @repeated_if_stale
    async def deactivate(self, user_id: str, session_id: str, now: dt.datetime) -> int:
        """Deactivate the messages of a session; gives how many."""
        messages = self._matches(Which(user_id, [MemoryType.SESSION], session_id), now)

        def deactivate_all(connection: Connection) -> int:
            # An update locks rows in the order in which it meets them, and might wait for `keep_summary` in a circle.
            connection.execute(select(memories.c.seq).where(messages).order_by(memories.c.seq).with_for_update())
            changed = connection.execute(update(memories).where(messages).values(active=False, updated_at=now))
            connection.execute(delete(session_summaries).where(_summary_of(user_id, session_id)))
            return changed.rowcount

        return await self._database.write(deactivate_all)

    @repeated_if_stale
    async def keep_summary(self, user_id: str, session_id: str, summary: Summary, of: Sequence[Memory]) -> None:
        """Make this the summary of a session, unless a message that it was made of has changed meanwhile.

        The lock on these messages keeps a change out until the summary is there for it to forget.
        """
        made_of = {message.id: message.updated_at for message in of}
        unchanged = select(memories.c.id, memories.c.updated_at).where(memories.c.id.in_(made_of), memories.c.active)
        unchanged = unchanged.order_by(memories.c.seq).with_for_update(read=True)
        values = {
            "user_id": user_id,
            "session_id": session_id,
            "summary": summary.text,
            "compression_level": summary.compression,
            "total_messages": summary.total_messages,
            "created_at": summary.created_at,
        }

        def replace_summary(connection: Connection) -> None:
            if {row.id: row.updated_at for row in connection.execute(unchanged)} == made_of:
                connection.execute(delete(session_summaries).where(_summary_of(user_id, session_id)))
                connection.execute(insert(session_summaries).values(values))

        await self._database.write(replace_summary)

    @repeated_if_stale
    async def summary(self, user_id: str, session_id: str) -> Summary | None:
        """The latest summary of a session."""
        query = (
            select(session_summaries)
            .where(_summary_of(user_id, session_id))
            .order_by(session_summaries.c.seq.desc())
            .limit(1)
        )
        rows = await self._rows(query)
        if not rows:
            return None
        row = rows[0]
        level = row["compression_level"]
        compression = None if level is None else Compression(level)
        return Summary(row["summary"], compression, row["total_messages"], row["created_at"])

    def _matches(self, which: Which, now: dt.datetime) -> ColumnElement[bool]:
        conditions = [memories.c.user_id == which.user_id, memories.c.active, _alive(now)]
        if which.types:
            conditions.append(memories.c.memory_type.in_(which.types))
        if which.session_id is not None:
            conditions.append(memories.c.session_id == which.session_id)
        return and_(*conditions)


def _is(memory_type: MemoryType, memory_id: str) -> ColumnElement[bool]:
    return and_(memories.c.id == memory_id, memories.c.memory_type == memory_type)


def _alive(now: dt.datetime) -> ColumnElement[bool]:
    return or_(memories.c.expires_at.is_(None), memories.c.expires_at > now)


def _summary_of(user_id: str, session_id: str) -> ColumnElement[bool]:
    return and_(session_summaries.c.user_id == user_id, session_summaries.c.session_id == session_id)


def _forget_summary(connection: Connection, memory: Memory) -> None:
    if memory.memory_type is MemoryType.SESSION and memory.session_id is not None:
        connection.execute(delete(session_summaries).where(_summary_of(memory.user_id, memory.session_id)))


def _memory(row: RowMapping) -> Memory:
    return Memory(**{column.name: row[column.name] for column in _FIELDS})
