"""The plainest body: a JSON object that names a session and its owner once each, at the top, and nothing else watched.

Most writes are such, and in them nothing has to be weighed. Any other body, and any that is wrong, is for `Reader`.
"""

from __future__ import annotations

from typing import TypeAlias

import orjson

from sidecar.core.json_reading import MOST_VALUES, JsonReader
from sidecar.core.profile import SESSION, USER, Owner, Profile

Named: TypeAlias = tuple[str, str]
"""A session's and a user's id as they stand in a body; whether they may be ids, nobody has looked yet."""


class PlainReader:
    """Reads plain bodies by one profile; `useful` is false where a session is more than its id and an owner."""

    def __init__(self, profile: Profile, json: JsonReader) -> None:
        self.useful = profile.owner is Owner.REQUIRED and not profile.scope
        self._json = json
        self._keys = {
            frozenset({_token(session), _token(user)}): (session, user)
            for session in _at_the_top(profile, SESSION)
            for user in _at_the_top(profile, USER)
        }

    def read(self, body: bytes) -> Named | None:
        """Give what a plain body names; None for any other."""
        names = self._json.plain_names(body)
        keys = None if names is None else self._keys.get(names)
        if keys is None or len(body) > MOST_VALUES:
            return None
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(value) is not dict:
            return None
        session_id, user_id = value.get(keys[0]), value.get(keys[1])
        return (session_id, user_id) if type(session_id) is str and type(user_id) is str else None


def _at_the_top(profile: Profile, name: str) -> list[str]:
    return [path[0] for path in profile.places[name].json if len(path) == 1]


def _token(key: str) -> bytes:
    return f'"{key}"'.encode()
