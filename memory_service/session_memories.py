"""The operations on the messages of one session: its context, its summary, and putting it aside."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from memory_service.model import Deactivated, Memory, MemoryType, Message, SessionContext, SessionSummary
from memory_service.records import Summary, Which
from memory_service.requests import ContextOf, OfSession, SummaryOf
from memory_service.store import Store
from memory_service.summary import Spoken, summarize

Clock: TypeAlias = Callable[[], dt.datetime]

_SUMMARIZED: Final = 1_000
"""How many of a session's latest messages a summary is made of."""


class SessionMemories:
    """Reads, summarizes and deactivates the messages of a session. Every method may raise DatabaseUnavailable."""

    def __init__(self, store: Store, now: Clock) -> None:
        self._store = store
        self._now = now

    async def context(self, wanted: ContextOf) -> SessionContext:
        """What is remembered of a session."""
        which = Which(wanted.user_id, [MemoryType.SESSION], wanted.session_id)
        recent, total = await self._messages(which, wanted.max_recent_messages)
        summary = None
        if wanted.include_summaries:
            kept = await self._store.summary(wanted.user_id, wanted.session_id)
            summary = kept.text if kept else None
        return SessionContext(
            session_found=total > 0,
            session_id=wanted.session_id,
            user_id=wanted.user_id,
            total_messages=total,
            recent_messages=[_message(memory) for memory in recent],
            summary=summary,
        )

    async def summarize(self, of: SummaryOf) -> SessionSummary:
        """Make a summary of the session as it is now and keep it for its context, unless the kept one is as good."""
        which = Which(of.user_id, [MemoryType.SESSION], of.session_id)
        recent, total = await self._messages(which, _SUMMARIZED)
        kept = await self._store.summary(of.user_id, of.session_id)
        good = kept and (kept.compression, kept.total_messages) == (of.compression_level, total)
        if of.force_update or not good:
            kept = await self._keep_summary(of, recent, total)
        return SessionSummary(
            session_found=total > 0,
            session_id=of.session_id,
            user_id=of.user_id,
            summary=kept.text if kept else None,
            compression_level=of.compression_level,
            updated=kept is not None and (of.force_update or not good),
            created_at=kept.created_at if kept else None,
            total_messages=total,
        )

    async def deactivate(self, session: OfSession) -> Deactivated:
        """Put the session's messages aside: they can still be read one by one, but no longer come up."""
        count = await self._store.deactivate(session.user_id, session.session_id, self._now())
        return Deactivated(
            session_found=count > 0, session_id=session.session_id, user_id=session.user_id, deactivated=count
        )

    async def _keep_summary(self, of: SummaryOf, recent: Sequence[Memory], total: int) -> Summary | None:
        """Make a summary, which may take seconds of a processor, and keep it if the messages are still as they were."""
        said = [Spoken(memory.role or "", memory.content, memory.importance_score) for memory in recent]
        text = await asyncio.to_thread(summarize, said, of.compression_level)
        if text is None:
            return None
        summary = Summary(text, of.compression_level, total, self._now())
        await self._store.keep_summary(of.user_id, of.session_id, summary, recent)
        return summary

    async def _messages(self, which: Which, limit: int) -> tuple[list[Memory], int]:
        """The latest messages, oldest first, and how many there are in all."""
        now = self._now()
        counts = await self._store.count(which, now)
        total = sum(count.total for count in counts)
        if not limit or not total:
            return [], total
        newest, _ = await self._store.page(which, None, limit, now)
        return newest[::-1], total


def _message(memory: Memory) -> Message:
    return Message(
        id=memory.id,
        message_content=memory.content,
        message_type=memory.message_type,
        role=memory.role,
        importance_score=memory.importance_score,
        created_at=memory.created_at,
    )
