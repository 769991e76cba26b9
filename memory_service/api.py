"""The calls over HTTP: each reads a request into what `service.MemoryService` takes, and answers what it gives."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from memory_service.fields import Label
from memory_service.model import (
    Compression,
    Deactivated,
    Memory,
    MemoryType,
    Page,
    SessionContext,
    SessionSummary,
    Statistics,
    Stored,
)
from memory_service.requests import (
    DEFAULT_RECENT,
    MAX_LIMIT,
    ByCategory,
    ByEventType,
    BySubject,
    Change,
    ContextOf,
    Cursor,
    Limit,
    Listing,
    NewDialog,
    NewMemory,
    NewMessage,
    NewWorkingDialog,
    OfSession,
    OfUser,
    Recent,
    Search,
    SummaryOf,
)
from memory_service.service import MemoryService
from service_kit.ids import Id
from service_kit.web.paths import WHOLE
from service_kit.web.problems import Refused, responses

_MEMORIES: Final = "/api/v1/memories"
_SESSION: Final = f"{_MEMORIES}/session/{{session_id:{WHOLE}}}"
_MEMORY: Final = f"{_MEMORIES}/{{memory_type}}/{{memory_id}}"

_BODY: Final = responses(400, 413)
"""The errors of calls that read a body."""

SessionId = Annotated[Id, Path()]
MemoryId = Annotated[Label, Path()]


class Owner(BaseModel):
    """The user whose memories of the session are meant; the query may name the user instead."""

    user_id: Id | None = None


class Summarizing(Owner):
    """The user whose messages of the session are summarized, and how."""

    force_update: Annotated[bool, Field(description="Make it anew, though no message came since the last one.")] = False
    compression_level: Annotated[Compression, Field(description="How much to leave out.")] = Compression.MEDIUM


Extracted = Literal[MemoryType.FACTUAL, MemoryType.EPISODIC, MemoryType.PROCEDURAL, MemoryType.SEMANTIC]


def memory_routes(service: MemoryService) -> APIRouter:
    """All routes of the REST API over `service`."""
    router = APIRouter(strict_content_type=False, responses=responses(422, 503))
    _add_session_routes(router, service)
    _add_dialog_routes(router, service)
    _add_finding_routes(router, service)
    _add_labelled_routes(router, service)
    _add_memory_routes(router, service)
    return router


def _add_session_routes(router: APIRouter, service: MemoryService) -> None:
    @router.post(f"{_MEMORIES}/session/store", responses=_BODY, tags=["sessions"])
    async def store_session_message(body: NewMessage) -> Stored:
        """Add a message to a session, known here or not."""
        return await service.store_message(body)

    @router.get(f"{_SESSION}/context", tags=["sessions"])
    async def get_session_context(
        session_id: SessionId,
        user_id: Id,
        include_summaries: bool = True,
        max_recent_messages: Recent = DEFAULT_RECENT,
    ) -> SessionContext:
        """Give the latest messages of a session, oldest first, and its last summary."""
        wanted = ContextOf(
            user_id=user_id,
            session_id=session_id,
            include_summaries=include_summaries,
            max_recent_messages=max_recent_messages,
        )
        return await service.sessions.context(wanted)

    @router.post(f"{_SESSION}/summarize", responses=_BODY, tags=["sessions"])
    async def summarize_session(
        session_id: SessionId, user_id: Id | None = None, body: Summarizing | None = None
    ) -> SessionSummary:
        """Make a summary of a session out of its own sentences, or give the kept one where it is as good."""
        of = _of_session(session_id, user_id, body)
        how = body or Summarizing()
        return await service.sessions.summarize(
            SummaryOf(**of.model_dump(), force_update=how.force_update, compression_level=how.compression_level)
        )

    @router.post(f"{_SESSION}/deactivate", responses=_BODY, tags=["sessions"])
    async def deactivate_session(
        session_id: SessionId, user_id: Id | None = None, body: Owner | None = None
    ) -> Deactivated:
        """Put a session's messages aside: no context and no search shows them any more."""
        return await service.sessions.deactivate(_of_session(session_id, user_id, body))


def _add_dialog_routes(router: APIRouter, service: MemoryService) -> None:
    @router.post(f"{_MEMORIES}/{{memory_type}}/extract", responses=_BODY, tags=["memories"])
    async def extract_memory(memory_type: Extracted, body: NewDialog) -> Stored:
        """Remember a dialogue as one memory, as it is: no model is used that could take it apart."""
        return await service.extract(memory_type, body)

    @router.post(f"{_MEMORIES}/working/store", responses=_BODY, tags=["memories"])
    async def store_working_memory(body: NewWorkingDialog) -> Stored:
        """Remember a dialogue for a while."""
        return await service.store_working(body)

    @router.get(f"{_MEMORIES}/working/active", tags=["memories"])
    async def get_active_working_memories(user_id: Id, limit: Limit = MAX_LIMIT, cursor: Cursor | None = None) -> Page:
        """List a user's working memories that have not expired, newest first."""
        return await service.newest(
            Listing(user_id=user_id, memory_type=[MemoryType.WORKING], limit=limit, cursor=cursor)
        )


def _add_labelled_routes(router: APIRouter, service: MemoryService) -> None:
    @router.get(f"{_MEMORIES}/factual/search/subject", tags=["memories"])
    async def search_facts_by_subject(by: Annotated[BySubject, Query()]) -> Page:
        """Find the facts whose `subject` it is, then those whose content has all of its words."""
        return await service.about(MemoryType.FACTUAL, by.user_id, "subject", by.subject, by.limit)

    @router.get(f"{_MEMORIES}/episodic/search/event_type", tags=["memories"])
    async def search_episodes_by_event_type(by: Annotated[ByEventType, Query()]) -> Page:
        """Find the episodes whose `event_type` it is, then those whose content has all of its words."""
        return await service.about(MemoryType.EPISODIC, by.user_id, "event_type", by.event_type, by.limit)

    @router.get(f"{_MEMORIES}/semantic/search/category", tags=["memories"])
    async def search_concepts_by_category(by: Annotated[ByCategory, Query()]) -> Page:
        """Find the concepts whose `category` it is, then those whose content has all of its words."""
        return await service.about(MemoryType.SEMANTIC, by.user_id, "category", by.category, by.limit)


def _add_finding_routes(router: APIRouter, service: MemoryService) -> None:
    @router.get(f"{_MEMORIES}/search", tags=["memories"])
    async def search_memories(search: Annotated[Search, Query()]) -> Page:
        """Find the memories that have all words of `q`, or any where none has all, the most relevant first.

        Any substring of Chinese is found. `query`, `memory_types` and `top_k` are other names of `q`, `types`, `limit`.
        """
        return await service.search(search)

    @router.get(f"{_MEMORIES}/statistics", tags=["memories"])
    async def get_memory_statistics(of: Annotated[OfUser, Query()]) -> Statistics:
        """Count a user's memories."""
        return await service.statistics(of)

    @router.get(_MEMORIES, tags=["memories"])
    async def list_memories(listing: Annotated[Listing, Query()]) -> Page:
        """List a user's memories, newest first."""
        return await service.newest(listing)


def _add_memory_routes(router: APIRouter, service: MemoryService) -> None:
    @router.post(_MEMORIES, status_code=201, responses=_BODY, tags=["memories"])
    async def store_memory(body: NewMemory) -> Memory:
        """Add a memory of any type."""
        return await service.store_memory(body)

    @router.get(_MEMORY, responses=responses(404), tags=["memories"])
    async def get_memory(memory_type: MemoryType, memory_id: MemoryId, user_id: Id | None = None) -> Memory:
        """Look at one memory; with `user_id`, only at that user's."""
        return await service.memory(memory_type, memory_id, user_id)

    @router.patch(_MEMORY, responses=_BODY | responses(404), tags=["memories"])
    async def change_memory(memory_type: MemoryType, memory_id: MemoryId, body: Change) -> Memory:
        """Replace some fields of a memory."""
        return await service.change(memory_type, memory_id, body)

    @router.delete(_MEMORY, status_code=204, response_class=Response, responses=responses(404), tags=["memories"])
    async def delete_memory(memory_type: MemoryType, memory_id: MemoryId, user_id: Id | None = None) -> None:
        """Delete a memory; with `user_id`, only that user's."""
        await service.forget(memory_type, memory_id, user_id)


def _of_session(session_id: str, in_query: str | None, body: Owner | None) -> OfSession:
    """The session that is meant, of the user that is named in one place or the same in both."""
    users = {user for user in (in_query, body.user_id if body else None) if user is not None}
    if not users:
        raise Refused(422, "user_id_required", "user_id: is required, in the body or in the query")
    if len(users) > 1:
        raise Refused(422, "invalid_user_id", "user_id: the body and the query name different users")
    return OfSession(session_id=session_id, user_id=users.pop())
