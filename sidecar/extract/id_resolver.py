"""Resolves what the places of a request name to one session, its owner and its scope, or to a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

from sidecar.extract.head_candidates import Candidates, HeadCandidates
from sidecar.extract.ids import CANONICAL, IdFormat, is_safe, is_text, session_id_check, user_id_check
from sidecar.extract.refused import RequestRefused, ambiguous
from sidecar.model import Reason, Reference, Refusal, RuleKind
from sidecar.profile.profile import REQUIRED_IF, SESSION, USER, IdGrammar, Owner, Profile

GRAMMAR: Final = "1 to 255 characters of A-Z a-z 0-9 . _ ~ : @ | + = -"
TEXT_GRAMMAR: Final = "1 to 255 characters without control characters and slashes"


class IdResolver:
    """Resolves claims by the rules of one profile.

    With a user header its value alone names the owner, and a claim of another owner is refused.
    """

    def __init__(self, profile: Profile, *, id_format: IdFormat, user_header: str | None) -> None:
        self._owner_policy = profile.owner
        self._scope = profile.scope
        self._defaults = {name: places.default for name, places in profile.watched.items()}
        self._variables = tuple(profile.variables)
        self._is_rich = bool(profile.scope or profile.variables or profile.service.credentials)
        self._is_text = profile.id_grammar is IdGrammar.TEXT
        self._is_part = is_text if self._is_text else is_safe
        self._format = id_format
        self._canonical = profile.service.canonical
        self._is_session_id = session_id_check(id_format, profile.id_grammar)
        self._is_user_id = user_id_check(id_format, profile.id_grammar)
        self._user_header = user_header

    def resolve_ids(self, claims: Candidates, kind: RuleKind, head: HeadCandidates) -> Reference | None:
        """The reference that the claims make, None where no session is named.

        Of `head` the user header and the credentials count beside the claims. Raises RequestRefused.
        """
        sessions = claims[SESSION]
        if not sessions:
            self._check_needed(claims)
            return None
        session_id = _agreed(sessions, "session id", Reason.INVALID_SESSION_ID, None)
        if not self._is_session_id(session_id):
            _refuse(Reason.INVALID_SESSION_ID, f"The session id is not {self._allowed()}.", None)
        session_id = self._canonical(session_id)
        has_owner = self._owner_policy is not Owner.NONE
        owner = self._owner(claims[USER], head.users, session_id) if has_owner else None
        if not self._is_rich:
            return Reference(session_id, owner, kind)
        scope = tuple(self._scope_part(name, claims[name], owner, session_id) for name in self._scope)
        variables = tuple(self._variable_values(claims))
        return Reference(session_id, owner, kind, scope, variables, head.credentials)

    def _allowed(self) -> str:
        if self._format is IdFormat.UUID:
            return f"{CANONICAL}, or a prefix, _ and such a UUID"
        return TEXT_GRAMMAR if self._is_text else GRAMMAR

    def _check_needed(self, claims: Candidates) -> None:
        """Refuse a body without a session id that has the value which makes one necessary."""
        demanded, *found = claims.get(REQUIRED_IF) or (None,)
        if demanded is not None and demanded in found:
            _refuse(Reason.SESSION_ID_REQUIRED, f"A write of {demanded} memory needs a session id.", None)

    def _variable_values(self, claims: Candidates) -> Iterator[tuple[str, str]]:
        """The variables that have a value; one that is no string, or that places disagree about, has none."""
        for name in self._variables:
            values = set(map(repr, claims[name]))
            value = claims[name][0] if values else self._defaults[name]
            if isinstance(value, str) and len(values) < 2:
                yield name, value

    def _owner(self, users: list[object], header_users: Sequence[str], session_id: str) -> str | None:
        claimed = _agreed(users, "user id", Reason.INVALID_USER_ID, session_id) if users else None
        if self._user_header is None:
            owner = claimed
        elif len(header_users) > 1:
            _refuse(Reason.AMBIGUOUS_SESSION, f"The header {self._user_header} is repeated.", session_id)
        else:
            owner = header_users[0] if header_users else None
        if owner is None and self._owner_policy is Owner.OPTIONAL and self._user_header is None:
            return None
        if owner is None:
            where = f"the header {self._user_header}" if self._user_header else "the request"
            _refuse(Reason.USER_ID_REQUIRED, f"A session has an owner, and {where} names no user.", session_id)
        if not self._is_user_id(owner):
            wanted = CANONICAL if self._format is IdFormat.UUID else self._allowed()
            _refuse(Reason.INVALID_USER_ID, f"The user id is not {wanted}.", session_id)
        if claimed is not None and claimed != owner:
            detail = "The request names another user than the one who is signed in."
            _refuse(Reason.SESSION_OWNED_BY_ANOTHER_USER, detail, session_id)
        return owner

    def _scope_part(self, name: str, values: list[object], owner: str | None, session_id: str) -> str:
        if name == USER and owner is not None:
            return owner
        if not values and (default := self._defaults[name]) is not None:
            return default
        if not values:
            _refuse(Reason.INVALID_SESSION_ID, f"A session id is told apart by {name}, and none is named.", session_id)
        part = _agreed(values, name, Reason.INVALID_SESSION_ID, session_id)
        if not self._is_part(part):
            grammar = TEXT_GRAMMAR if self._is_text else GRAMMAR
            _refuse(Reason.INVALID_SESSION_ID, f"The {name} is not {grammar}.", session_id)
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


def _refuse(reason: Reason, detail: str, session_id: str | None) -> NoReturn:
    raise RequestRefused(Refusal(reason, detail, session_id))
