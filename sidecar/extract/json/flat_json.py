"""Flat bodies: one that names a session and its owner once each, and no other watched name.

Most writes are such, as a JSON object or as the arguments of one MCP call, and there is nothing to resolve in them. Any
other body, and any that is wrong, is left to the full extraction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from sidecar.extract.json.strict_json import MOST_VALUES, JsonReader
from sidecar.extract.mcp import NAMES
from sidecar.model import NOTIFICATION, Notification, RpcId, RuleKind
from sidecar.profile.profile import SESSION, USER, IdGrammar, Owner, Profile

SessionIdentity: TypeAlias = tuple[str, str]
"""A session's and a user's id as they stand in a body; their grammar is not checked yet."""


class FlatCall(NamedTuple):
    """A `tools/call` with both ids, unchecked, at the top of its arguments."""

    session_id: str
    user_id: str
    kind: RuleKind
    rpc_id: RpcId


_Keys: TypeAlias = tuple[str, str]


def has_flat_bodies(profile: Profile) -> bool:
    """Whether a session is nothing more than its id and an owner."""
    plain = not (profile.scope or profile.variables or profile.service.credentials)
    return plain and profile.owner is Owner.REQUIRED and profile.id_grammar is IdGrammar.SAFE


class FlatJsonExtractor:
    """Reads JSON objects with both ids at the top, by one profile."""

    def __init__(self, profile: Profile, json: JsonReader) -> None:
        self._json = json
        self._keys = _names_together(profile)

    def read(self, body: bytes) -> SessionIdentity | None:
        """Give what a flat body names; None for any other."""
        names = self._json.plain_names(body)
        keys = None if names is None else self._keys.get(names)
        return None if keys is None else _named(_value(body), keys)


class FlatCallExtractor:
    """Reads MCP messages that call one guarded tool with both ids at the top of its arguments, by one profile.

    `kind` gives the kind of a tool by its name.
    """

    def __init__(self, profile: Profile, json: JsonReader, kind: Callable[[object], RuleKind]) -> None:
        self._json = json
        self._kind = kind
        together = _names_together(profile)
        self._keys = {names | around: keys for names, keys in together.items() for around in (_CALL, _NOTIFICATION)}

    def read(self, body: bytes) -> FlatCall | None:
        """Give what a flat call names; None for any other body."""
        names = self._json.plain_names(body)
        keys = None if names is None else self._keys.get(names)
        if keys is None:
            return None
        message = _value(body)
        if type(message) is not dict or message.get("method") != "tools/call":
            return None
        params = message.get("params")
        if type(params) is not dict or (kind := self._kind(params.get("name"))) is RuleKind.PASS:
            return None
        named = _named(params.get("arguments"), keys)
        rpc_id = message.get("id", NOTIFICATION)
        if named is None or type(rpc_id) not in _PLAIN_IDS:
            return None
        return FlatCall(*named, kind, rpc_id)


def _names_together(profile: Profile) -> dict[frozenset[bytes], _Keys]:
    return {
        frozenset({_token(session), _token(user)}): (session, user)
        for session in _at_the_top(profile, SESSION)
        for user in _at_the_top(profile, USER)
    }


def _value(body: bytes) -> Any:
    """What the JSON text stands for; None where it is none, or too long to be sure that it is cheap."""
    if len(body) > MOST_VALUES:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _named(value: object, keys: _Keys) -> SessionIdentity | None:
    if type(value) is not dict:
        return None
    session_id, user_id = value.get(keys[0]), value.get(keys[1])
    return (session_id, user_id) if type(session_id) is str and type(user_id) is str else None


def _at_the_top(profile: Profile, name: str) -> list[str]:
    return [path[0] for path in profile.places[name].json if len(path) == 1]


def _token(key: str) -> bytes:
    return f'"{key}"'.encode()


_PLAIN_IDS: Final = frozenset({str, int, Notification})
_CALL: Final = frozenset(map(_token, NAMES))
_NOTIFICATION: Final = _CALL - {_token("id")}
