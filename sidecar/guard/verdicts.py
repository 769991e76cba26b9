"""What the session service says of a session that it is asked about, and what the journal says of a debt for one.

Values alone: immutable, comparable, free of I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sidecar.model import Session


@dataclass(frozen=True, slots=True)
class Found:
    """The session exists; its owner may still be another user."""

    session: Session


@dataclass(frozen=True, slots=True)
class Created:
    """The session did not exist and now does, for the owner that was asked for."""

    session: Session


@dataclass(frozen=True, slots=True)
class Absent:
    """The session service says that there is no such session."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The session exists for another user, who was not named."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The session was deleted; a write never brings it back."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The session service gives no usable answer (time-out, refused connection, 5xx, redirect): never `Absent`.

    `retry_after` is in whole seconds, where something is known of when to ask again.
    """

    why: str
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Invalid:
    """No session can be known under the id: the session service refuses it, or cannot be asked with what is named."""

    why: str = "the session service takes no such id"


@dataclass(frozen=True, slots=True)
class Untrustworthy:
    """It answered with another id or owner than was asked for, or with something that is no session."""

    why: str


@dataclass(frozen=True, slots=True)
class Owed:
    """A debt for the session is on disk; until it is paid the session belongs, here, to `owner` alone.

    `set_aside` says that the session service answers and the debt could not be paid all the same: `owner` has to ask.
    """

    owner: str | None
    set_aside: bool = False


Verdict: TypeAlias = Found | Created | Absent | Conflict | Gone | Invalid | Unknown | Untrustworthy
