"""Flat bodies: one that names a session and its owner once each, and no other watched name.

Most writes are such, as a JSON object or as the arguments of one MCP call, and there is nothing to resolve in them. Any
other body, and any that is wrong, is left to the full extraction.

A parsed object shows neither the members that a repeated name hides nor what is nested in it. Their names stand in the
text all the same, in quotes: a text with no more quotes than the names and strings of the object need hides none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from sidecar.extract.ids import MAX_LENGTH
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

_BACKSLASH: Final = ord("\\")
_QUOTE: Final = ord('"')


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
        value = _value(body)
        if type(value) is not dict:
            return None
        hides_nothing = _quotes_in(body) == _quotes_of(value)
        names = self._json.names_among(tuple(value)) if hides_nothing else self._json.plain_names(body)
        keys = None if names is None else self._keys.get(names)
        return None if keys is None else _named(value, keys)


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
        message = _value(body)
        if type(message) is not dict or message.get("method") != "tools/call":
            return None
        params = message.get("params")
        if type(params) is not dict:
            return None
        arguments = params.get("arguments")
        if type(arguments) is not dict:
            return None
        if _quotes_in(body) == _quotes_of(message) + _quotes_of(params) + _quotes_of(arguments):
            names = self._json.names_among((*message, *params, *arguments))
        else:
            names = self._json.plain_names(body)
        keys = None if names is None else self._keys.get(names)
        if keys is None or (kind := self._kind(params.get("name"))) is RuleKind.PASS:
            return None
        named = _named(arguments, keys)
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


def _quotes_in(body: bytes) -> int:
    """Count the quotes of a JSON text that begin or end a string."""
    if _BACKSLASH not in body:
        return body.count(_QUOTE)
    # Pairs of backslashes go first: a quote behind one is not escaped.
    text = body.replace(b"\\\\", b"")
    return text.count(_QUOTE) - text.count(b'\\"')


def _quotes_of(value: dict[str, Any]) -> int:
    """Count the quotes that the names of an object need, and the strings among its values."""
    count = len(value)
    for each in value.values():
        if type(each) is str:
            count += 1
    return 2 * count


def _named(value: dict[str, Any], keys: _Keys) -> SessionIdentity | None:
    session_id, user_id = value.get(keys[0]), value.get(keys[1])
    if type(session_id) is not str or type(user_id) is not str:
        return None
    # What is too long for any grammar is not worth remembering either.
    return (session_id, user_id) if len(session_id) <= MAX_LENGTH and len(user_id) <= MAX_LENGTH else None


def _at_the_top(profile: Profile, name: str) -> list[str]:
    return [path[0] for path in profile.places[name].json if len(path) == 1]


def _token(key: str) -> bytes:
    return f'"{key}"'.encode()


_PLAIN_IDS: Final = frozenset({str, int, Notification})
_CALL: Final = frozenset(map(_token, NAMES))
_NOTIFICATION: Final = _CALL - {_token("id")}
