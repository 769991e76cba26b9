"""What the store is asked for, and what it gives besides memories."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from memory_service.model import Compression, MemoryType


@dataclass(frozen=True, slots=True)
class Which:
    """The memories of one user that are of some types or of some session; all active ones if empty."""

    user_id: str
    types: Sequence[MemoryType] = ()
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """How many memories of a type a user has, and when the first and the last were stored."""

    memory_type: MemoryType
    total: int
    oldest_at: dt.datetime
    newest_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Summary:
    """A session's summary, how it was made, of how many messages, and when. A summary of an old database has gaps."""

    text: str
    compression: Compression | None
    total_messages: int | None
    created_at: dt.datetime
