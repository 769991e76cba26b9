"""Session and user ids: the safe grammar, the formats that can be demanded, and how to make ids that fit them.

Ids are opaque: they are compared byte for byte and never rewritten, so everything here either makes a new id or says
yes or no to one.
"""

from __future__ import annotations

import enum
import re
import uuid
from collections.abc import Callable
from typing import Final

from sidecar.profile.profile import IdGrammar

MAX_LENGTH: Final = 255
FOREIGN_USERS: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "users.session-sidecar")
"""The UUIDv5 namespace (RFC 9562, section 5.5) of user ids from elsewhere; changing it would change every such id."""

_SAFE = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._~:@|+=-]{1,255}").fullmatch
_TEXT = re.compile(r"(?!\.\.?\Z)[^\x00-\x1f\x7f-\x9f/\\\ud800-\udfff\u2028\u2029\ufeff]{1,255}").fullmatch
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_UNSAFE_CHARACTERS = re.compile(r"[^A-Za-z0-9._~:@|+=-]")
_UUID_LENGTH = 36


class IdFormat(enum.StrEnum):
    """What is demanded of ids beyond the safe grammar: nothing, or a UUID (sessions may prefix it)."""

    OPAQUE = "opaque"
    UUID = "uuid"


def is_safe(text: str) -> bool:
    """Whether the text is in the safe grammar: 1 to 255 of `A-Z a-z 0-9 . _ ~ : @ | + = -`, not `.` or `..`."""
    return _SAFE(text) is not None


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its hyphenated form, in either case (RFC 9562, section 4)."""
    return _UUID(text) is not None


def is_prefixed_uuid(text: str) -> bool:
    """Whether the text is a safe prefix, an underscore and a UUID."""
    prefix, underscore = text[: -_UUID_LENGTH - 1], text[-_UUID_LENGTH - 1 : -_UUID_LENGTH]
    return bool(prefix) and underscore == "_" and is_uuid(text[-_UUID_LENGTH:]) and is_safe(text)


def is_session_uuid(text: str) -> bool:
    """Whether the text is a UUID, with or without a prefix."""
    return is_uuid(text) or is_prefixed_uuid(text)


def is_text(text: str) -> bool:
    """Whether the text is in the wider grammar: 1 to 255 characters, no control characters or slashes, no `.`, `..`."""
    return _TEXT(text) is not None


def session_id_check(demanded: IdFormat, grammar: IdGrammar = IdGrammar.SAFE) -> Callable[[str], bool]:
    """The test that says whether a session may have an id."""
    return _of_grammar(grammar) if demanded is IdFormat.OPAQUE else is_session_uuid


def user_id_check(demanded: IdFormat, grammar: IdGrammar = IdGrammar.SAFE) -> Callable[[str], bool]:
    """The test that says whether a user may have an id."""
    return _of_grammar(grammar) if demanded is IdFormat.OPAQUE else is_uuid


def _of_grammar(grammar: IdGrammar) -> Callable[[str], bool]:
    return is_text if grammar is IdGrammar.TEXT else is_safe


def new_session_id() -> str:
    """Make a session id: a random UUID."""
    return str(uuid.uuid4())


def new_session_id_for(user_id: str) -> str:
    """Make a session id that shows whose it is: the first 12 characters of the user id, `_`, a random UUID.

    Characters outside the safe grammar become `-`. Raises ValueError for an empty user id.
    """
    if not user_id:
        raise ValueError("a session id for a user needs a user id, and it is empty")
    return f"{_UNSAFE_CHARACTERS.sub('-', user_id[:12])}_{uuid.uuid4()}"


def new_user_id() -> str:
    """Make a user id: a random UUID."""
    return str(uuid.uuid4())


def user_uuid(foreign: str) -> str:
    """The UUID that stands for a user id from elsewhere (`auth0|abc`, `cli_user_1`): the same one every time.

    An id that is a UUID already is its own answer, in lower case. Raises ValueError for an empty id.
    """
    if not foreign:
        raise ValueError("an empty user id stands for nobody")
    return foreign.lower() if is_uuid(foreign) else str(uuid.uuid5(FOREIGN_USERS, foreign))
