"""Sessions, the outcomes of operations on them, and events, as values. Pure: no I/O."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import Any, TypeAlias


class Status(enum.StrEnum):
    """The state of a session. `DELETED` is a tombstone: the id is never used again."""

    ACTIVE = "active"
    ENDED = "ended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Session:
    """One session as it is stored. `conversation_data` and `metadata` are JSON values of the clients' own making."""

    session_id: str
    user_id: str
    status: Status
    conversation_data: Any
    metadata: Any
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session that a client wants to exist. Both ids keep to the safe grammar."""

    session_id: str
    user_id: str
    conversation_data: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Created:
    """The session did not exist and now does."""

    session: Session


@dataclass(frozen=True, slots=True)
class Found:
    """The session exists for the user who asked; it may have ended."""

    session: Session


@dataclass(frozen=True, slots=True)
class Conflict:
    """The session exists for another user."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The session was deleted."""


@dataclass(frozen=True, slots=True)
class Absent:
    """There never was such a session."""


Ensured: TypeAlias = Created | Found | Conflict | Gone
Looked: TypeAlias = Found | Conflict | Gone | Absent


def judge(session: Session, user_id: str | None) -> Found | Conflict | Gone:
    """The outcome of a look at an existing session by a user, or by any user (None). A tombstone is Gone for all."""
    if session.status is Status.DELETED:
        return Gone()
    if user_id is not None and session.user_id != user_id:
        return Conflict()
    return Found(session)


class Change(enum.StrEnum):
    """What an event tells of a session."""

    CREATED = "created"
    ENDED = "ended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one session. Numbers have no gaps, and a higher one is never visible before a lower one."""

    number: int
    change: Change
    session_id: str
    user_id: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class History:
    """How far the events reach: the numbers `base + 1` to `last` were given, though the oldest may be pruned."""

    base: int
    last: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing, newest session first. `next_cursor` is None on the last page."""

    sessions: tuple[Session, ...]
    next_cursor: int | None
