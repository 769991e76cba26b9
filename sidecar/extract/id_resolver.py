"""What the places of a request name is weighed here: one session, its owner and its scope, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias

from sidecar.extract.ids import IdFormat, is_safe, session_id_check, user_id_check
from sidecar.extract.refused import RequestRefused, ambiguous
from sidecar.model import Reason, Reference, Refusal, RuleKind
from sidecar.profile.profile import SESSION, USER, Owner, Profile

GRAMMAR: Final = "1 to 255 characters of A-Z a-z 0-9 . _ ~ : @ | + = -"

Candidates: TypeAlias = dict[str, list[object]]
"""For each name of the profile, what the places that say anything say; never null."""


class IdResolver:
    """Weighs claims by the rules of one profile.

    With a user header its value alone names the owner, and claims of another owner are somebody else's sessions.
    """

    def __init__(self, profile: Profile, *, id_format: IdFormat, user_header: str | None) -> None:
        self._owned = profile.owner is Owner.REQUIRED
        self._scope = profile.scope
        self._format = id_format
        self._is_session_id = session_id_check(id_format)
        self._is_user_id = user_id_check(id_format)
        self._user_header = user_header

    def resolve_ids(self, claims: Candidates, kind: RuleKind, header_users: Sequence[str]) -> Reference | None:
        """The reference that the claims make, None where no session is named.

        `header_users` are the values of the user header. Raises Refusal.
        """
        sessions = claims[SESSION]
        if not sessions:
            return None
        session_id = _agreed(sessions, "session id", Reason.INVALID_SESSION_ID, None)
        if not self._is_session_id(session_id):
            _refuse(Reason.INVALID_SESSION_ID, f"The session id is not {_allowed(self._format)}.", None)
        owner = self._owner(claims[USER], header_users, session_id) if self._owned else None
        if not self._scope:
            return Reference(session_id, owner, kind)
        scope = tuple(self._scope_part(name, claims[name], owner, session_id) for name in self._scope)
        return Reference(session_id, owner, kind, scope)

    def _owner(self, users: list[object], header_users: Sequence[str], session_id: str) -> str:
        claimed = _agreed(users, "user id", Reason.INVALID_USER_ID, session_id) if users else None
        if self._user_header is None:
            owner = claimed
        elif len(header_users) > 1:
            _refuse(Reason.AMBIGUOUS_SESSION, f"The header {self._user_header} is repeated.", session_id)
        else:
            owner = header_users[0] if header_users else None
        if owner is None:
            where = f"the header {self._user_header}" if self._user_header else "the request"
            _refuse(Reason.USER_ID_REQUIRED, f"A session has an owner, and {where} names no user.", session_id)
        if not self._is_user_id(owner):
            wanted = "a UUID" if self._format is IdFormat.UUID else GRAMMAR
            _refuse(Reason.INVALID_USER_ID, f"The user id is not {wanted}.", session_id)
        if claimed is not None and claimed != owner:
            detail = "The request names another user than the one who is signed in."
            _refuse(Reason.SESSION_OWNED_BY_ANOTHER_USER, detail, session_id)
        return owner

    def _scope_part(self, name: str, values: list[object], owner: str | None, session_id: str) -> str:
        if name == USER and owner is not None:
            return owner
        if not values:
            _refuse(Reason.INVALID_SESSION_ID, f"A session id is told apart by {name}, and none is named.", session_id)
        part = _agreed(values, name, Reason.INVALID_SESSION_ID, session_id)
        if not is_safe(part):
            _refuse(Reason.INVALID_SESSION_ID, f"The {name} is not {GRAMMAR}.", session_id)
        return part


def _agreed(values: list[object], what: str, invalid: Reason, session_id: str | None) -> str:
    """The one string that all the places say."""
    first = values[0]
    for value in values:
        if not isinstance(value, str):
            _refuse(invalid, f"The {what} must be a string.", session_id)
        if value != first:
            ambiguous(f"The request names more than one {what}.")
    return str(first)


def _allowed(demanded: IdFormat) -> str:
    if demanded is IdFormat.UUID:
        return "a UUID, or a prefix, _ and a UUID"
    return GRAMMAR


def _refuse(reason: Reason, detail: str, session_id: str | None) -> NoReturn:
    raise RequestRefused(Refusal(reason, detail, session_id))
