"""What can be done with memories, whichever door a request came in by.

Nothing here asks whether a session exists: a message makes its session known, here and to nobody else.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, Final

from memory_service.model import (
    DEFAULT_TTL,
    Deactivated,
    JsonObject,
    Memory,
    MemoryType,
    Message,
    Page,
    SessionContext,
    SessionSummary,
    Statistics,
    StoredMessage,
)
from memory_service.requests import Change, ContextOf, Listing, NewMemory, NewMessage, OfSession, OfUser, Search
from memory_service.search import read_query
from memory_service.store import Store, Which
from memory_service.summary import Spoken, summarize
from service_kit.database import again_if_stale
from service_kit.problems import Refused

Clock = Callable[[], dt.datetime]

_SUMMARIZED: Final = 1_000
"""How many of a session's latest messages a summary is made of."""


def utc_now() -> dt.datetime:
    """The present time."""
    return dt.datetime.now(dt.UTC)


class MemoryService:
    """Stores, finds and forgets memories. Every method may raise DatabaseUnavailable, or Refused where it says so."""

    def __init__(self, store: Store, now: Clock = utc_now) -> None:
        self._store = store
        self._now = now

    async def store_message(self, new: NewMessage) -> StoredMessage:
        """Add a message to a session."""
        memory = self._new_memory(
            MemoryType.SESSION,
            user_id=new.user_id,
            session_id=new.session_id,
            content=new.message_content,
            message_type=new.message_type,
            role=new.role,
            importance_score=new.importance_score,
            metadata=new.extras,
        )
        await self._keep(memory)
        return StoredMessage(id=memory.id, session_id=new.session_id, created_at=memory.created_at)

    async def store_memory(self, new: NewMemory) -> Memory:
        """Add a memory of any type."""
        is_message = new.memory_type is MemoryType.SESSION
        memory = self._new_memory(
            new.memory_type,
            user_id=new.user_id,
            session_id=new.session_id,
            content=new.content,
            message_type=(new.message_type or "human") if is_message else None,
            role=(new.role or "user") if is_message else None,
            importance_score=new.importance_score,
            context=new.context,
            metadata={**new.extras, **new.metadata},
            ttl=(new.ttl_seconds or DEFAULT_TTL) if new.memory_type is MemoryType.WORKING else None,
        )
        await self._keep(memory)
        return memory

    async def memory(self, memory_type: MemoryType, memory_id: str, user_id: str | None = None) -> Memory:
        """One memory. Refused as not found, also for another user's where a user is named."""
        found = await again_if_stale(lambda: self._store.get(memory_type, memory_id, self._now()))
        if found is None or user_id not in {None, found.user_id}:
            raise _not_found(memory_type, memory_id)
        return found

    async def change(self, memory_type: MemoryType, memory_id: str, change: Change) -> Memory:
        """Replace what the change names. Refused where there is none or its type has no such field."""
        memory = await self.memory(memory_type, memory_id, change.user_id)
        values = change.model_dump(exclude_none=True, exclude={"user_id", "ttl_seconds"})
        if change.session_id is not None and "session_id" in (context := change.context or memory.context):
            values["context"] = {**context, "session_id": change.session_id}
        if change.ttl_seconds is not None:
            if memory_type is not MemoryType.WORKING:
                raise _invalid("ttl_seconds: is for working memories only")
            values["expires_at"] = self._in(change.ttl_seconds)
        changed = await again_if_stale(lambda: self._store.change(memory, values, self._now()))
        if changed is None:
            raise _not_found(memory_type, memory_id)
        return changed

    async def forget(self, memory_type: MemoryType, memory_id: str, user_id: str | None = None) -> None:
        """Delete a memory. Refused where there is none."""
        memory = await self.memory(memory_type, memory_id, user_id)
        await again_if_stale(lambda: self._store.remove(memory))

    async def newest(self, listing: Listing) -> Page:
        """A page of a user's memories. Refused for a cursor that no page gave."""
        which = Which(listing.user_id, listing.memory_type, listing.session_id)
        return await self._page(which, listing.cursor, listing.limit)

    async def search(self, search: Search) -> Page:
        """A page of the memories that hold all that is searched for. Refused where that is nothing."""
        try:
            query = read_query(search.q)
        except ValueError as nothing:
            raise _invalid(f"q: {nothing}") from nothing
        which = Which(search.user_id, search.types, search.session_id, query)
        return await self._page(which, search.cursor, search.limit)

    async def context(self, wanted: ContextOf) -> SessionContext:
        """What is remembered of a session."""
        which = Which(wanted.user_id, [MemoryType.SESSION], wanted.session_id)
        recent, total = await self._messages(which, wanted.max_recent_messages)
        summary = None
        if wanted.include_summaries:
            summary = await again_if_stale(lambda: self._store.summary(wanted.user_id, wanted.session_id))
        return SessionContext(
            session_found=total > 0,
            session_id=wanted.session_id,
            user_id=wanted.user_id,
            total_messages=total,
            recent_messages=[_message(memory) for memory in recent],
            summary=summary,
        )

    async def summarize(self, session: OfSession) -> SessionSummary:
        """Make a summary of the session as it is now, and keep it for its context."""
        which = Which(session.user_id, [MemoryType.SESSION], session.session_id)
        recent, total = await self._messages(which, _SUMMARIZED)
        summary = summarize([Spoken(memory.role or "", memory.content, memory.importance_score) for memory in recent])
        if summary is not None:
            kept = (session.user_id, session.session_id, summary, self._now())
            await again_if_stale(lambda: self._store.keep_summary(*kept))
        return SessionSummary(
            session_found=total > 0,
            session_id=session.session_id,
            user_id=session.user_id,
            summary=summary,
            total_messages=total,
        )

    async def deactivate(self, session: OfSession) -> Deactivated:
        """Put the session's messages aside: they can still be read one by one, but no longer come up."""
        count = await again_if_stale(lambda: self._store.deactivate(session.user_id, session.session_id, self._now()))
        return Deactivated(
            session_found=count > 0, session_id=session.session_id, user_id=session.user_id, deactivated=count
        )

    async def statistics(self, of: OfUser) -> Statistics:
        """How much is remembered of a user."""
        now = self._now()
        counts = await again_if_stale(lambda: self._store.count(Which(of.user_id), now))
        sessions = await again_if_stale(lambda: self._store.count_sessions(of.user_id, now))
        by_type = dict.fromkeys(MemoryType, 0) | {count.memory_type: count.total for count in counts}
        return Statistics(
            user_id=of.user_id,
            total=sum(by_type.values()),
            by_type=by_type,
            sessions=sessions,
            oldest_at=min((count.oldest_at for count in counts), default=None),
            newest_at=max((count.newest_at for count in counts), default=None),
        )

    def _new_memory(
        self, memory_type: MemoryType, *, context: JsonObject | None = None, ttl: int | None = None, **fields: Any
    ) -> Memory:
        now = self._now()
        return Memory(
            id=str(uuid.uuid4()),
            memory_type=memory_type,
            context=context or {},
            active=True,
            expires_at=None if ttl is None else self._in(ttl),
            created_at=now,
            updated_at=now,
            **fields,
        )

    def _in(self, seconds: int) -> dt.datetime:
        return self._now() + dt.timedelta(seconds=seconds)

    async def _keep(self, memory: Memory) -> None:
        await again_if_stale(lambda: self._store.add(memory, self._now()))

    async def _page(self, which: Which, cursor: str | None, limit: int) -> Page:
        before = _number(cursor)
        found, rest = await again_if_stale(lambda: self._store.page(which, before, limit, self._now()))
        return Page(memories=found, next_cursor=None if rest is None else str(rest))

    async def _messages(self, which: Which, limit: int) -> tuple[list[Memory], int]:
        """The latest messages, oldest first, and how many there are in all."""
        now = self._now()
        counts = await again_if_stale(lambda: self._store.count(which, now))
        total = sum(count.total for count in counts)
        if not limit or not total:
            return [], total
        newest, _ = await again_if_stale(lambda: self._store.page(which, None, limit, now))
        return newest[::-1], total


def _invalid(detail: str) -> Refused:
    return Refused(422, "invalid_request", detail)


def _not_found(memory_type: MemoryType, memory_id: str) -> Refused:
    return Refused(404, "memory_not_found", f"there is no {memory_type} memory {memory_id}")


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise _invalid("cursor: is not one that a page gave")
    return int(cursor)


def _message(memory: Memory) -> Message:
    return Message(
        id=memory.id,
        message_content=memory.content,
        message_type=memory.message_type,
        role=memory.role,
        importance_score=memory.importance_score,
        created_at=memory.created_at,
    )
