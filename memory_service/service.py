"""The operations on memories, the same for REST and MCP.

Nothing here asks whether a session exists: a message makes its session known, here and nowhere else.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

from memory_service.model import DEFAULT_TTL, JsonObject, Memory, MemoryType, Page, Statistics, Stored
from memory_service.records import Which
from memory_service.requests import Change, Listing, NewDialog, NewMemory, NewMessage, NewWorkingDialog, OfUser, Search
from memory_service.search import SearchQuery, read_query
from memory_service.session_memories import Clock, SessionMemories
from memory_service.store import Store
from service_kit.web.problems import Refused

_NAME_A_SESSION: Final = (
    "session_id: a session memory needs one, beside the content or as context.session_id or metadata.session_id"
)


def utc_now() -> dt.datetime:
    """The present time."""
    return dt.datetime.now(dt.UTC)


class MemoryService:
    """Stores, finds and forgets memories; `sessions` has the operations on one session.

    Every method may raise DatabaseUnavailable, or Refused where it says so.
    """

    def __init__(self, store: Store, now: Clock = utc_now) -> None:
        self.sessions = SessionMemories(store, now)
        self._store = store
        self._now = now

    async def store_message(self, new: NewMessage) -> Stored:
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
        await self._store.add(memory, self._now())
        return _stored(memory, "store_session_message", "The message is stored.")

    async def extract(self, memory_type: MemoryType, new: NewDialog) -> Stored:
        """Remember a dialogue. There is no model here that could take facts out of it: it is kept as it is."""
        memory = await self.store_memory(_as_memory(memory_type, new))
        message = f"No model is used here: the dialogue is stored as it is, as one {memory_type} memory."
        return _stored(memory, f"extract_{memory_type}_memory", message)

    async def store_working(self, new: NewWorkingDialog) -> Stored:
        """Remember a dialogue for a while."""
        memory = await self.store_memory(_as_memory(MemoryType.WORKING, new))
        return _stored(memory, "store_working_memory", f"The dialogue is stored for {new.ttl_seconds} seconds.")

    async def store_memory(self, new: NewMemory) -> Memory:
        """Add a memory of any type. Refused where it is of a session and names none: no id is made up."""
        is_message = new.memory_type is MemoryType.SESSION
        if is_message and new.session_id is None:
            raise Refused(422, "session_id_required", _NAME_A_SESSION)
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
        await self._store.add(memory, self._now())
        return memory

    async def memory(self, memory_type: MemoryType, memory_id: str, user_id: str | None = None) -> Memory:
        """One memory. Refused as not found, also for another user's where a user is named."""
        found = await self._store.get(memory_type, memory_id, self._now())
        if found is None or user_id not in {None, found.user_id}:
            raise _not_found(memory_type, memory_id)
        return found

    async def change(self, memory_type: MemoryType, memory_id: str, change: Change) -> Memory:
        """Replace what the change names. Refused where there is none or its type has no such field."""
        memory = await self.memory(memory_type, memory_id, change.user_id)
        values = change.model_dump(exclude_none=True, exclude={"user_id", "ttl_seconds"})
        for name in ("context", "metadata"):
            inside = values.get(name, getattr(memory, name))
            if change.session_id is not None and "session_id" in inside:
                values[name] = {**inside, "session_id": change.session_id}
        if change.ttl_seconds is not None:
            if memory_type is not MemoryType.WORKING:
                raise _invalid("ttl_seconds: is for working memories only")
            values["expires_at"] = self._in(change.ttl_seconds)
        changed = await self._store.change(memory, values, self._now())
        if changed is None:
            raise _not_found(memory_type, memory_id)
        return changed

    async def forget(self, memory_type: MemoryType, memory_id: str, user_id: str | None = None) -> None:
        """Delete a memory. Refused where there is none."""
        memory = await self.memory(memory_type, memory_id, user_id)
        await self._store.remove(memory)

    async def newest(self, listing: Listing) -> Page:
        """A page of a user's memories."""
        which = Which(listing.user_id, listing.memory_type, listing.session_id)
        before = int(listing.cursor) if listing.cursor else None
        found, rest = await self._store.page(which, before, listing.limit, self._now())
        return _page(found, None if rest is None else str(rest))

    async def search(self, search: Search) -> Page:
        """A page of the memories that have all words, or any where none has all, the best first.

        Refused where no word is searched for.
        """
        which, query = Which(search.user_id, search.types, search.session_id), _query("q", search.q)
        words, _, skipped = (search.cursor or "all-0").partition("-")
        skip, now = int(skipped), self._now()
        found, more = list[Memory](), False
        if words == "all":
            found, more = await self._store.best(which, query, skip, search.limit, now)
        if words == "any" or (search.cursor is None and not found):
            words = "any"
            found, more = await self._store.best(which, query.loosened(), skip, search.limit, now)
        return _page(found, f"{words}-{skip + search.limit}" if more else None)

    async def about(self, memory_type: MemoryType, user_id: str, label: str, value: str, limit: int) -> Page:
        """The memories of a type whose `label` holds the value, then those whose content has all of its words."""
        which, query = Which(user_id, [memory_type]), _query(label, value)
        found = await self._store.about(which, label, value, query, limit=limit, now=self._now())
        return _page(found, None)

    async def statistics(self, of: OfUser) -> Statistics:
        """How much is remembered of a user."""
        now = self._now()
        counts = await self._store.count(Which(of.user_id), now)
        sessions = await self._store.count_sessions(of.user_id, now)
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


def _invalid(detail: str) -> Refused:
    return Refused(422, "invalid_request", detail)


def _not_found(memory_type: MemoryType, memory_id: str) -> Refused:
    return Refused(404, "memory_not_found", f"there is no {memory_type} memory {memory_id}")


def _as_memory(memory_type: MemoryType, new: NewDialog) -> NewMemory:
    """The dialogue as a memory. A field that `NewMemory` alone knows is kept in the metadata like any unknown one."""
    fields = new.model_dump(exclude={"dialog_content", "metadata", *new.extras})
    metadata = {**new.extras, **new.metadata}
    return NewMemory(memory_type=memory_type, content=new.dialog_content, metadata=metadata, **fields)


def _stored(memory: Memory, operation: str, message: str) -> Stored:
    return Stored(
        memory_id=memory.id,
        id=memory.id,
        memory_type=memory.memory_type,
        session_id=memory.session_id,
        operation=operation,
        message=message,
        created_at=memory.created_at,
    )


def _page(found: list[Memory], next_cursor: str | None) -> Page:
    return Page(memories=found, count=len(found), next_cursor=next_cursor)


def _query(name: str, text: str) -> SearchQuery:
    try:
        return read_query(text)
    except ValueError as nothing:
        raise _invalid(f"{name}: {nothing}") from nothing
