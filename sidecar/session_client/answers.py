"""Turns an answer of the session service into a verdict, once it is proven to be about the session that was asked for.

Pure. A reply that is not plainly one thing is `Unknown` (the service fails) or `Untrustworthy` (it says something
else); neither is ever `Absent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone, Invalid, Unknown, Untrustworthy, Verdict
from sidecar.model import UNOWNED, Headers, Reference, Session, SessionStatus
from sidecar.profile.api_call import ApiCall, Meaning
from sidecar.profile.profile import Owner
from sidecar.profile.session_api import SessionApi
from sidecar.profile.templates import JsonPath
from sidecar.session_client.calls import values_of

MOST_ANSWER: Final = 4 << 20
"""Bytes of an answer that are read; what is longer is not believed to be a session."""

_BUSY: Final = frozenset({408, 425, 429})
_DIGITS_OF_A_DAY: Final = 5
_ACTIVE: Final = "active"
_OUR_ABSENCE: Final = "session_not_found"


@dataclass(frozen=True, slots=True)
class Reply:
    """A response as far as it matters: `body` is None where it was too long or in a coding not asked for."""

    status: int
    body: bytes | None
    retry_after: int | None = None

    @classmethod
    def of(cls, status: int, headers: Headers, body: bytes | None) -> Self:
        """Take what matters of a response with these fields; `body` is None where it was too long."""
        if _values(headers, b"content-encoding") not in ([], [b"identity"]):
            body = None
        retry_after = _seconds(_values(headers, b"retry-after")) if status >= 400 else None
        return cls(status, body, retry_after)


@dataclass(frozen=True, slots=True)
class Doubt:
    """The answer to a create call left open whether the session exists, or its owner: look again.

    What is absent even then is `otherwise`.
    """

    otherwise: Conflict | Unknown


OTHER_ID: Final = Untrustworthy("it answered with another session than was asked for")
OTHER_OWNER: Final = Untrustworthy("it answered with another owner than was asked for")
NO_PUT: Final = Untrustworthy(
    "the session service does not create by PUT; if it creates by POST, profile isa-platform does look + POST"
)
"""A service that has PUT for updates, or not at all, answers 404 or 405 where the default one creates."""

_NO_SUCH_CALL: Final = frozenset({404, 405})
_NOT_JSON: Final = object()
_NO_SESSION: Final = Untrustworthy("its answer is no session")


class Interpreter:
    """Reads replies as a service's API describes them."""

    def __init__(self, api: SessionApi, scope_names: Sequence[str] = (), owner: Owner = Owner.REQUIRED) -> None:
        self._api = api
        self._scope_names = tuple(scope_names)
        self._owner = owner
        self._is_ours = api.is_default

    def looked(self, reply: Reply, reference: Reference) -> Verdict:
        meaning, content, is_told = self._meaning(self._api.look, reply, reference)
        if meaning is None:
            return _undescribed(reply)
        if meaning is Meaning.FOUND:
            session = self._session(content, reference)
            return Found(session) if isinstance(session, Session) else session
        answer = self._denied(meaning, content, reply, is_told=is_told)
        return _meaningless(reply) if isinstance(answer, Doubt) else answer

    def made(self, reply: Reply, reference: Reference) -> Verdict | Doubt:
        """Read the reply to a create call. It is `OTHER_ID` where the service made a session under another id."""
        if self._api.create is None:
            return _undescribed(reply)
        meaning, content, is_told = self._meaning(self._api.create, reply, reference)
        if meaning is None:
            return NO_PUT if self._is_ours and reply.status in _NO_SUCH_CALL else _undescribed(reply)
        if meaning is Meaning.PERHAPS:
            return Doubt(Unknown(f"it answered {reply.status}", reply.retry_after))
        if meaning in (Meaning.FOUND, Meaning.CREATED):
            return self._proven(meaning, content, reference)
        return self._denied(meaning, content, reply, is_told=is_told)

    def _meaning(
        self, call: ApiCall, reply: Reply, reference: Reference
    ) -> tuple[Meaning | None, Mapping[str, Any] | None, bool]:
        """What a reply means, the object in its body, and whether the body itself told the meaning."""
        content = _parsed(reply.body)
        whole = content if isinstance(content, dict) else None
        if call.bodies and content is not _NOT_JSON:
            values = values_of(reference, self._scope_names)
            for pattern in call.bodies:
                if pattern.is_met(reply.status, content, values):
                    return pattern.means, whole, True
        return call.statuses.get(reply.status), whole, False

    def _proven(self, meaning: Meaning, content: Mapping[str, Any] | None, reference: Reference) -> Verdict:
        """Compare what a create call left with what was asked for."""
        session = self._session(content, reference)
        if isinstance(session, Untrustworthy):
            return session
        if session.owner not in (UNOWNED, reference.user_id):
            # A foreign service may say 200 for "already there", also where it is another user's. Ours says 409.
            may_be_found = meaning is Meaning.FOUND and not self._is_ours
            return Found(session) if may_be_found else OTHER_OWNER
        # Without a look before, "found" may be old; after a look that found nothing, any success is a creation.
        had_no_look = self._is_ours or self._api.idempotent_create
        return Found(session) if meaning is Meaning.FOUND and had_no_look else Created(session)

    def _denied(  # noqa: PLR0911 # a table: one return for each meaning
        self, meaning: Meaning, content: Mapping[str, Any] | None, reply: Reply, *, is_told: bool
    ) -> Verdict | Doubt:
        """Read an error; one that is not the service's own, as a stray proxy's page, says nothing of the session."""
        reason = None if content is None else content.get("reason")
        if (content is None and not is_told) or (self._is_ours and not isinstance(reason, str)):
            return _meaningless(reply)
        match meaning:
            case Meaning.ABSENT if not self._is_ours or reason == _OUR_ABSENCE:
                return Absent()
            case Meaning.CONFLICT:
                return Conflict()
            case Meaning.GONE:
                return Gone()
            case Meaning.INVALID:
                return Invalid()
            case Meaning.TAKEN:
                return Doubt(Conflict())
            case _:
                return _meaningless(reply)

    def _session(self, content: Mapping[str, Any] | None, reference: Reference) -> Session | Untrustworthy:
        api = self._api
        if content is None or not isinstance(session_id := _at(content, api.id_field), str):
            return _NO_SESSION
        if not api.same_id(session_id, reference.session_id):
            return OTHER_ID
        owner = reference.user_id
        if api.owner_field is not None and self._owner is not Owner.NONE:
            owner = _at(content, api.owner_field)
            if owner is None and self._owner is Owner.OPTIONAL:
                owner = UNOWNED
            elif not isinstance(owner, str) or not owner:
                return _NO_SESSION
        status = self._status(content)
        return _NO_SESSION if status is None else Session(owner, status)

    def _status(self, content: Mapping[str, Any]) -> SessionStatus | None:
        """The session's state, or None where it is none. Ours has three; foreign ones may have more of being active."""
        if self._api.status_field is None:
            return SessionStatus.ACTIVE
        value = _at(content, self._api.status_field)
        if not isinstance(value, str):
            return None
        if value in self._api.deleted_values:
            return SessionStatus.DELETED
        if value in self._api.ended_values:
            return SessionStatus.ENDED
        return SessionStatus.ACTIVE if value == _ACTIVE or not self._is_ours else None


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name.lower() == wanted]


def _seconds(retry_after: Sequence[bytes]) -> int | None:
    """Read `Retry-After` (RFC 9110, section 10.2.3) where it is a number of seconds, of a day at most or so."""
    if len(retry_after) != 1 or not retry_after[0].isdigit() or len(retry_after[0]) > _DIGITS_OF_A_DAY:
        return None
    return int(retry_after[0])


def _undescribed(reply: Reply) -> Unknown | Untrustworthy:
    """A status without a meaning in the API: a failure, a redirect or overload; any other is untrustworthy."""
    if reply.status >= 500 or 300 <= reply.status < 400 or reply.status in _BUSY:
        return Unknown(f"it answered {reply.status}", reply.retry_after)
    return _meaningless(reply)


def _meaningless(reply: Reply) -> Untrustworthy:
    return Untrustworthy(f"it answered {reply.status} in a way that says nothing of the session")


def _parsed(body: bytes | None) -> Any:
    try:
        return _NOT_JSON if body is None else orjson.loads(body)
    except orjson.JSONDecodeError:
        return _NOT_JSON


def _at(content: Mapping[str, Any], path: JsonPath) -> Any:
    value: Any = content
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
