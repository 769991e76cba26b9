"""What an answer of the session service says, once it is proven to speak of the session that was asked for.

Pure. Whatever is not plainly one thing is `Unknown` (the service fails) or `Untrustworthy` (it says something else);
neither is ever `Absent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar.model import (
    Absent,
    Conflict,
    Created,
    Found,
    Gone,
    Reference,
    Session,
    SessionStatus,
    Unknown,
    Untrustworthy,
    Verdict,
)
from sidecar.profile.session_api import JsonPath, Meaning, SessionApi, Style

_BUSY: Final = frozenset({408, 425, 429})
_ACTIVE: Final = "active"
_OUR_ABSENCE: Final = "session_not_found"


@dataclass(frozen=True, slots=True)
class Reply:
    """A response as far as it matters: `body` is None where it was too long or came in a coding nobody asked for."""

    status: int
    body: bytes | None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """The create call did not say whose the session is, or whether it is: look again.

    What is absent even then is `otherwise`.
    """

    otherwise: Conflict | Unknown


OTHER_ID: Final = Untrustworthy("it answered with another session than was asked for")
OTHER_OWNER: Final = Untrustworthy("it answered with another owner than was asked for")
_NO_SESSION: Final = Untrustworthy("its answer is no session")


class Interpreter:
    """Reads replies by a service's habits."""

    def __init__(self, habits: SessionApi) -> None:
        self._habits = habits
        self._create_statuses = {} if habits.create is None else habits.create.statuses
        self._is_ours = habits.style is Style.PUT

    def looked(self, reply: Reply, reference: Reference) -> Verdict:
        """Read the reply to a look."""
        meaning = self._habits.look.statuses.get(reply.status)
        if meaning is None:
            return _undescribed(reply)
        content = _object(reply.body)
        if meaning is Meaning.FOUND:
            session = self._session(content, reference)
            return Found(session) if isinstance(session, Session) else session
        answer = self._denied(meaning, content, reply)
        return _meaningless(reply) if isinstance(answer, Doubt) else answer

    def made(self, reply: Reply, reference: Reference) -> Verdict | Doubt:
        """Read the reply to a create call. It is `OTHER_ID` where a session was made that nobody asked for."""
        meaning = self._create_statuses.get(reply.status)
        if meaning is None:
            return _undescribed(reply)
        if meaning is Meaning.PERHAPS:
            return Doubt(Unknown(f"it answered {reply.status}", reply.retry_after))
        content = _object(reply.body)
        if meaning in (Meaning.FOUND, Meaning.CREATED):
            return self._proven(meaning, content, reference)
        return _meaningless(reply) if meaning is Meaning.ABSENT else self._denied(meaning, content, reply)

    def _proven(self, meaning: Meaning, content: Mapping[str, Any] | None, reference: Reference) -> Verdict:
        """Compare what a create call left with what was asked for."""
        session = self._session(content, reference)
        if isinstance(session, Untrustworthy):
            return session
        if session.owner != reference.user_id:
            # A foreign service may say 200 for "already there", whoever it belongs to. Ours says 409.
            may_be_found = meaning is Meaning.FOUND and not self._is_ours
            return Found(session) if may_be_found else OTHER_OWNER
        # A foreign create call comes after a look that found nothing, whatever status it then says it with.
        return Found(session) if meaning is Meaning.FOUND and self._is_ours else Created(session)

    def _denied(self, meaning: Meaning, content: Mapping[str, Any] | None, reply: Reply) -> Verdict | Doubt:
        """Read an error; one that is not the service's own, as a stray proxy's page, says nothing of the session."""
        reason = None if content is None else content.get("reason")
        if content is None or (self._is_ours and not isinstance(reason, str)):
            return _meaningless(reply)
        match meaning:
            case Meaning.ABSENT if not self._is_ours or reason == _OUR_ABSENCE:
                return Absent()
            case Meaning.CONFLICT:
                return Conflict()
            case Meaning.GONE:
                return Gone()
            case Meaning.TAKEN:
                return Doubt(Conflict())
            case _:
                return _meaningless(reply)

    def _session(self, content: Mapping[str, Any] | None, reference: Reference) -> Session | Untrustworthy:
        habits = self._habits
        if content is None or not isinstance(session_id := _at(content, habits.id_field), str):
            return _NO_SESSION
        if session_id != reference.session_id:
            return OTHER_ID
        owner = reference.user_id
        if habits.owner_field is not None and owner is not None:
            owner = _at(content, habits.owner_field)
            if not isinstance(owner, str):
                return _NO_SESSION
        status = self._status(content)
        return _NO_SESSION if status is None else Session(owner, status)

    def _status(self, content: Mapping[str, Any]) -> SessionStatus | None:
        """The session's state, or None where it is none. Ours has three; foreign ones may have more of being active."""
        if self._habits.status_field is None:
            return SessionStatus.ACTIVE
        value = _at(content, self._habits.status_field)
        if not isinstance(value, str):
            return None
        if value in self._habits.deleted_values:
            return SessionStatus.DELETED
        if value in self._habits.ended_values:
            return SessionStatus.ENDED
        return SessionStatus.ACTIVE if value == _ACTIVE or not self._is_ours else None


def _undescribed(reply: Reply) -> Unknown | Untrustworthy:
    """A status that the habits do not describe: it fails, sends elsewhere or is busy; or it is not what we think."""
    if reply.status >= 500 or 300 <= reply.status < 400 or reply.status in _BUSY:
        return Unknown(f"it answered {reply.status}", reply.retry_after)
    return _meaningless(reply)


def _meaningless(reply: Reply) -> Untrustworthy:
    return Untrustworthy(f"it answered {reply.status} in a way that says nothing of the session")


def _object(body: bytes | None) -> Mapping[str, Any] | None:
    try:
        content = None if body is None else orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _at(content: Mapping[str, Any], path: JsonPath) -> Any:
    value: Any = content
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
