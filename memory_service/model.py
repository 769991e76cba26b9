"""The values of the memory service: memories, what responses hold of them, and the errors that clients can cause.

Each model is used for REST and for MCP alike, so that both speak of the same fields.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

DEFAULT_IMPORTANCE: Final = 0.5
DEFAULT_TTL: Final = 3_600
MAX_TTL: Final = 10 * 365 * 24 * 3_600

JsonObject = dict[str, Any]


class MemoryType(enum.StrEnum):
    """The kinds of memory; `WORKING` ones expire, `SESSION` ones are the messages of a conversation."""

    FACTUAL = "factual"
    EPISODIC = "episodic"
    SEMANTIC = "semantic"
    PROCEDURAL = "procedural"
    WORKING = "working"
    SESSION = "session"


class Compression(enum.StrEnum):
    """How much a summary leaves out: `LOW` keeps most sentences, `HIGH` fewest."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Memory(BaseModel):
    """One stored memory. `expires_at` is set for working memories; `message_type` and `role` for messages."""

    id: str
    memory_type: MemoryType
    user_id: str
    session_id: str | None
    content: str
    message_type: str | None
    role: str | None
    importance_score: float
    context: JsonObject
    metadata: JsonObject
    active: Annotated[bool, Field(description="False once the session it belongs to was deactivated.")]
    expires_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


class Page(BaseModel):
    """Some memories, how many they are, and the cursor that continues the list; None at its end."""

    memories: list[Memory]
    count: int
    next_cursor: str | None


class Stored(BaseModel):
    """That a memory was stored. `memory_id` and `id` are the same; `message` says what was done, for a person."""

    success: bool = True
    memory_id: str
    id: str
    memory_type: MemoryType
    session_id: str | None
    operation: str
    message: str
    created_at: dt.datetime


class Message(BaseModel):
    """A session message as the context of its session shows it."""

    id: str
    message_content: str
    message_type: str | None
    role: str | None
    importance_score: float
    created_at: dt.datetime


class SessionContext(BaseModel):
    """What is remembered of a session: the latest messages, oldest first, and the last summary."""

    session_found: bool
    session_id: str
    user_id: str
    total_messages: int
    recent_messages: list[Message]
    summary: str | None


class SessionSummary(BaseModel):
    """A summary made of the session's own sentences; None where there is no message to summarize.

    `updated` is false where the summary that was kept is still good: no message came since, at the same compression.
    """

    success: bool = True
    session_found: bool
    session_id: str
    user_id: str
    summary: str | None
    compression_level: Compression
    updated: bool
    created_at: Annotated[dt.datetime | None, Field(description="When the summary was made.")]
    total_messages: int


class Deactivated(BaseModel):
    """How many messages of the session no longer come up in its context or in a search."""

    success: bool = True
    session_found: bool
    session_id: str
    user_id: str
    deactivated: int


class Statistics(BaseModel):
    """How much is remembered of a user; expired and deactivated memories are not counted."""

    user_id: str
    total: int
    by_type: dict[MemoryType, int]
    sessions: int
    oldest_at: dt.datetime | None
    newest_at: dt.datetime | None
