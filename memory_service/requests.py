"""What clients may ask for, over REST and MCP alike.

A field that is not named here is kept in the memory's metadata under its own name: clients of older services send
fields of their own with each type, and none of it may get lost.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from memory_service.fields import Content, Importance, Label, Query, StorableObject, storable_object
from memory_service.model import DEFAULT_IMPORTANCE, DEFAULT_TTL, MAX_TTL, Compression, JsonObject, MemoryType
from service_kit.ids import Id, unsafe_because

Ttl = Annotated[int, Field(ge=1, le=MAX_TTL, description="Seconds until a working memory expires.")]
MAX_LIMIT: Final = 100
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
_CURSOR: Final = "`next_cursor` of the page before."
Cursor = Annotated[str, Field(pattern="^[0-9]{1,18}$", description=_CURSOR)]
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
        """The fields that the model does not know; they are kept in the metadata."""
        return self.model_extra or {}


class NewMessage(_Open):
    """A new message of a session, which need not exist anywhere else."""

    user_id: Id
    session_id: Id
    message_content: Content
    message_type: Label = "human"
    role: Label = "user"
    importance_score: Importance = DEFAULT_IMPORTANCE


class _NewContent(_Open):
    """The fields of a new memory of any type. Its session stands beside the content, in the context or the metadata."""

    user_id: Id
    session_id: Id | None = None
    context: Annotated[StorableObject, Field(default_factory=dict)]
    metadata: Annotated[StorableObject, Field(default_factory=dict)]
    importance_score: Importance = DEFAULT_IMPORTANCE

    @model_validator(mode="after")
    def _one_session(self) -> Self:
        self.session_id = _one_session(self.session_id, context=self.context, metadata=self.metadata)
        return self


class NewContent(_NewContent):
    """The content of a new memory, with its other fields."""

    content: Content


class NewWorkingContent(NewContent):
    """The content of a new memory that expires."""

    ttl_seconds: Ttl = DEFAULT_TTL


class NewDialog(_NewContent):
    """A dialogue to be remembered."""

    dialog_content: Content


class NewWorkingDialog(NewDialog):
    """A dialogue to be remembered until it expires."""

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
        return self


class Change(BaseModel):
    """The fields of a memory to replace; a field that is absent or null stays as it is.

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
        self.session_id = _one_session(self.session_id, context=self.context or {}, metadata=self.metadata or {})
        return self


class OfSession(BaseModel):
    """A session and the user whose memories of it are meant."""

    user_id: Id
    session_id: Id


class SummaryOf(OfSession):
    """A session and how it is to be summarized; `force_update` makes the summary anew though the kept one is good."""

    force_update: bool = False
    compression_level: Compression = Compression.MEDIUM


class ContextOf(OfSession):
    """Which part of a session's context is wanted."""

    include_summaries: bool = True
    max_recent_messages: Recent = DEFAULT_RECENT


class _Finding(BaseModel):
    """Which part of a user's memories is wanted: the first, or what follows the page that gave the cursor."""

    user_id: Id
    session_id: Id | None = None
    limit: Annotated[Limit, Field(validation_alias=AliasChoices("limit", "top_k"))] = DEFAULT_LIMIT


class Listing(_Finding):
    """The memories of some types, or of all."""

    memory_type: Types = []
    cursor: Cursor | None = None


class Search(_Finding):
    """The memories that match `q`. `query`, `memory_types` and `top_k` are other names of `q`, `types` and `limit`."""

    q: Annotated[Query, Field(validation_alias=AliasChoices("q", "query"))]
    types: Annotated[Types, Field(validation_alias=AliasChoices("types", "memory_types"))] = []
    cursor: Annotated[str | None, Field(pattern="^(all|any)-[0-9]{1,9}$", description=_CURSOR)] = None
    similarity_threshold: Annotated[
        float, Field(ge=0, le=1, description="Has no effect: words are compared, not vectors.")
    ] = 0


class _Labelled(BaseModel):
    """A user's memories of one type by what they are about."""

    user_id: Id
    limit: Limit = DEFAULT_LIMIT


class BySubject(_Labelled):
    """Factual memories by their subject."""

    subject: Query


class ByEventType(_Labelled):
    """Episodic memories by the kind of event."""

    event_type: Query


class ByCategory(_Labelled):
    """Semantic memories by their category."""

    category: Query


class OfUser(BaseModel):
    """The user whose memories are counted."""

    user_id: Id


def _one_session(session_id: str | None, **objects: JsonObject) -> str | None:
    """The session that is named beside the objects or inside of them; all places must name the same."""
    for place, inside in objects.items():
        inner = inside.get("session_id")
        if inner is None:
            continue
        if not isinstance(inner, str):
            raise PydanticCustomError("invalid_session_id", "{place}.session_id: must be a string", {"place": place})
        if session_id not in {None, inner}:
            raise PydanticCustomError(
                "invalid_session_id", "{place}.session_id names another session", {"place": place}
            )
        if why := unsafe_because(inner):
            raise PydanticCustomError("invalid_session_id", "{place}.session_id: {why}", {"place": place, "why": why})
        session_id = inner
    return session_id
