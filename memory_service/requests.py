"""What clients may ask for, over REST and MCP alike.

A field that is not named here is kept in the memory's metadata under its own name: clients of older services send
fields of their own with each type, and none of it may get lost.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from memory_service.fields import Content, Id, Importance, Label, Query, StorableObject, storable_object
from memory_service.model import DEFAULT_IMPORTANCE, DEFAULT_TTL, MAX_TTL, JsonObject, MemoryType
from service_kit.ids import unsafe_because

Ttl = Annotated[int, Field(ge=1, le=MAX_TTL, description="Seconds until a working memory expires.")]
Limit = Annotated[int, Field(ge=1, le=100)]
Recent = Annotated[int, Field(ge=0, le=10_000)]
DEFAULT_LIMIT: Final = 20
DEFAULT_RECENT: Final = 20


def _split(value: object) -> object:
    """Names that are joined by commas, taken apart; anything else is left for the next check to refuse."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return value
    return [name for text in texts for name in text.split(",") if name]


Types = Annotated[
    list[MemoryType],
    BeforeValidator(_split),
    Field(description="Memory types, one by one or with commas between them; all if empty."),
]


class _Open(BaseModel):
    """Takes fields it does not know and says which they were."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _storable_extras(self) -> Self:
        storable_object(self.extras)
        return self

    @property
    def extras(self) -> JsonObject:
        """The fields that mean something to the client alone."""
        return self.model_extra or {}


class NewMessage(_Open):
    """A message of a session. Whether that session exists anywhere else is not asked."""

    user_id: Id
    session_id: Id
    message_content: Content
    message_type: Label = "human"
    role: Label = "user"
    importance_score: Importance = DEFAULT_IMPORTANCE


class NewContent(_Open):
    """What a memory of any type may consist of. The session may stand beside the content or in its context."""

    user_id: Id
    content: Content
    session_id: Id | None = None
    context: Annotated[StorableObject, Field(default_factory=dict)]
    metadata: Annotated[StorableObject, Field(default_factory=dict)]
    importance_score: Importance = DEFAULT_IMPORTANCE

    @model_validator(mode="after")
    def _one_session(self) -> Self:
        self.session_id = _one_session(self.session_id, self.context)
        return self


class NewWorkingContent(NewContent):
    """A memory for a while."""

    ttl_seconds: Ttl = DEFAULT_TTL


class NewMemory(NewContent):
    """A memory of the type it names."""

    memory_type: MemoryType
    ttl_seconds: Ttl | None = None
    message_type: Label | None = None
    role: Label | None = None

    @model_validator(mode="after")
    def _fields_of_the_type(self) -> Self:
        if self.ttl_seconds is not None and self.memory_type is not MemoryType.WORKING:
            raise ValueError("ttl_seconds is for working memories only")
        if (self.message_type or self.role) and self.memory_type is not MemoryType.SESSION:
            raise ValueError("message_type and role are for session memories only")
        if self.session_id is None and self.memory_type is MemoryType.SESSION:
            raise PydanticCustomError("invalid_session_id", "session_id: a session memory needs one")
        return self


class Change(BaseModel):
    """What is to become different about a memory; what is absent or null stays as it is.

    `user_id` says whose memory is meant and cannot be changed. `context` and `metadata` are replaced as a whole.
    """

    model_config = ConfigDict(extra="forbid")

    user_id: Id | None = None
    content: Content | None = None
    session_id: Id | None = None
    context: StorableObject | None = None
    metadata: StorableObject | None = None
    importance_score: Importance | None = None
    ttl_seconds: Ttl | None = None

    @model_validator(mode="after")
    def _one_session(self) -> Self:
        self.session_id = _one_session(self.session_id, self.context or {})
        return self


class OfSession(BaseModel):
    """A session and the user whose memories of it are meant."""

    user_id: Id
    session_id: Id


class ContextOf(OfSession):
    """Which part of a session's context is wanted."""

    include_summaries: bool = True
    max_recent_messages: Recent = DEFAULT_RECENT


class _Finding(BaseModel):
    """Which part of a user's memories is wanted: the newest, or those after the page that gave the cursor."""

    user_id: Id
    session_id: Id | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: str | None = None


class Listing(_Finding):
    """The memories of some types, or of all."""

    memory_type: Types = []


class Search(_Finding):
    """The memories that hold every part of `q`; Chinese text is found by any part of it."""

    q: Query
    types: Types = []


class OfUser(BaseModel):
    """The user whose memories are counted."""

    user_id: Id


def _one_session(session_id: str | None, context: JsonObject) -> str | None:
    """The session that is named beside or inside `context`, which must not disagree."""
    inner = context.get("session_id")
    if inner is None:
        return session_id
    if not isinstance(inner, str):
        raise PydanticCustomError("invalid_session_id", "context.session_id: must be a string")
    if session_id not in {None, inner}:
        raise PydanticCustomError("invalid_session_id", "session_id and context.session_id name different sessions")
    if why := unsafe_because(inner):
        raise PydanticCustomError("invalid_session_id", "context.session_id: {why}", {"why": why})
    return inner
