"""The ids that a chat endpoint works with: a session's where the client names none, a user's as the platform wants it.

Ids are made here, at the entry, and nowhere behind it: the sidecar and the services compare them byte for byte.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

FOREIGN_USERS: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "users.session-sidecar")
"""The UUIDv5 namespace (RFC 9562, section 5.5) of user ids from elsewhere; changing it changes every such id."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._~:@|+=-]")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch


def new_session_id_for(user_id: str) -> str:
    """Make a session id that shows whose it is: the first 12 characters of the user id, `_`, a random UUID.

    Characters outside the safe grammar become `-`. Raises ValueError for an empty user id.
    """
    if not user_id:
        raise ValueError("a session id for a user needs a user id, and it is empty")
    return f"{_UNSAFE.sub('-', user_id[:12])}_{uuid.uuid4()}"


def user_uuid(foreign: str) -> str:
    """The UUID that stands for a user id of another system (`auth0|abc`, `cli_user_1`): the same one every time.

    A hyphenated UUID stands for itself, in lower case. Raises ValueError for an empty id.
    """
    if not foreign:
        raise ValueError("a user id is empty")
    return foreign.lower() if _UUID(foreign) else str(uuid.uuid5(FOREIGN_USERS, foreign))
