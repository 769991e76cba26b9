"""Flat bodies: one that names a session and its owner once each, and no other watched name.

Most writes are such, as a JSON object or as the arguments of one MCP call, and there is nothing to resolve in them. Any
other body, and any that is wrong, is left to the full extraction.

A parsed object shows neither the members that a repeated name hides nor what is nested in it. Their names stand in the
text all the same, in quotes: a text with no more quotes than the names and strings of the object need hides none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import orjson

from sidecar.extract.ids import IdFormat, session_id_check, user_id_check
from sidecar.extract.json.strict_json import MOST_VALUES, JsonReader
from sidecar.extract.mcp import NAMES
from sidecar.model import NOTIFICATION, Call, Extraction, Notification, Reference, RefusalFormat, RuleKind
from sidecar.profile.profile import SESSION, USER, IdGrammar, Owner, Profile
from sidecar.profile.session_api import IdEquality

_Keys: TypeAlias = tuple[str, str]
"""The names of the members that hold a session's and a user's id."""

_BACKSLASH: Final = ord("\\")
_QUOTE: Final = ord('"')
_MOST_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 1024
_REMEMBERED_IDS: Final = 16
"""One in so many checked ids is remembered: a frequent id soon, a rare one seldom. What is not remembered is freed with
its request, and the next request takes that memory while it is still in the processor's caches."""


def has_flat_bodies(profile: Profile) -> bool:
    """Whether a session is nothing more than its id, in the one spelling that it has, and an owner."""
    service = profile.service
    plain = not (profile.scope or profile.variables or service.credentials) and service.id_equals is IdEquality.EXACT
    return plain and profile.owner is Owner.REQUIRED and profile.id_grammar is IdGrammar.SAFE


class FlatReader:
    """Makes the reference of two ids that stand alone, by one profile.

    `around` are the sets of other watched names that may stand in such a text. Names and references that come often are
    remembered, as many as fit; then it starts anew.
    """

    def __init__(
        self, profile: Profile, json: JsonReader, id_format: IdFormat, around: Iterable[frozenset[bytes]]
    ) -> None:
        self._json = json
        self._keys: dict[frozenset[bytes] | None, _Keys] = {
            names.union((_token(session), _token(user))): (session, user)
            for session in _at_the_top(profile, SESSION)
            for user in _at_the_top(profile, USER)
            for names in around
        }
        self._is_session_id = session_id_check(id_format)
        self._is_user_id = user_id_check(id_format)
        self._keys_among: dict[tuple[str, ...], _Keys | None] = {}
        self._references: dict[str, Reference] = {}
        self._checked = 0

    def _keys_of(self, body: bytes, quotes: int, names: tuple[str, ...]) -> _Keys | None:
        """The names of both ids in a text whose objects need so many quotes, and have these names; None if unclear."""
        if _quotes_in(body) != quotes:
            return self._keys.get(self._json.plain_names(body))
        try:
            return self._keys_among[names]
        except KeyError:
            keys = self._keys.get(self._json.names_among(names))
        if sum(map(len, names)) <= _LONGEST_REMEMBERED:
            if len(self._keys_among) >= _MOST_REMEMBERED:
                self._keys_among.clear()
            self._keys_among[names] = keys
        return keys

    def _reference(self, value: dict[str, Any], keys: _Keys, kind: RuleKind) -> Reference | None:
        """The reference that both ids make; None where one of them is no string or outside the grammar.

        Writes come from few sessions at a time, and checking an id costs more than remembering it.
        """
        session_id, user_id = value.get(keys[0]), value.get(keys[1])
        if type(session_id) is not str or type(user_id) is not str:
            return None
        reference = self._references.get(session_id)
        if reference is not None and reference.user_id == user_id and reference.kind is kind:
            return reference
        if not (self._is_session_id(session_id) and self._is_user_id(user_id)):
            return None
        reference = Reference(session_id, user_id, kind)
        self._checked += 1
        if not self._checked % _REMEMBERED_IDS:
            if len(self._references) >= _MOST_REMEMBERED:
                self._references.clear()
            self._references[session_id] = reference
        return reference


class FlatJsonExtractor(FlatReader):
    """Reads JSON objects with both ids at the top."""

    def __init__(self, profile: Profile, json: JsonReader, id_format: IdFormat) -> None:
        super().__init__(profile, json, id_format, [frozenset()])

    def read(self, body: bytes, kind: RuleKind) -> Extraction | None:
        """Extract from a flat body; None for any other."""
        value = _value(body)
        if type(value) is not dict:
            return None
        keys = self._keys_of(body, _quotes_of(value), tuple(value))
        reference = None if keys is None else self._reference(value, keys, kind)
        return None if reference is None else Extraction(RefusalFormat.REST, (Call(reference),))


class FlatCallExtractor(FlatReader):
    """Reads MCP messages that call one guarded tool with both ids at the top of its arguments.

    `kind` gives the kind of a tool by its name.
    """

    def __init__(
        self, profile: Profile, json: JsonReader, id_format: IdFormat, kind: Callable[[object], RuleKind]
    ) -> None:
        super().__init__(profile, json, id_format, [_CALL, _NOTIFICATION])
        self._kind = kind

    def read(self, body: bytes) -> Extraction | None:
        """Extract from a flat call; None for any other body."""
        message = _value(body)
        if type(message) is not dict or message.get("method") != "tools/call":
            return None
        params = message.get("params")
        if type(params) is not dict:
            return None
        arguments = params.get("arguments")
        if type(arguments) is not dict:
            return None
        quotes = _quotes_of(message) + _quotes_of(params) + _quotes_of(arguments)
        keys = self._keys_of(body, quotes, (*message, *params, *arguments))
        rpc_id = message.get("id", NOTIFICATION)
        if keys is None or type(rpc_id) not in _PLAIN_IDS:
            return None
        kind = self._kind(params.get("name"))
        reference = None if kind is RuleKind.PASS else self._reference(arguments, keys, kind)
        if reference is None:
            return None
        return Extraction(RefusalFormat.RPC, (Call(reference, rpc_id=rpc_id),))


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


def _at_the_top(profile: Profile, name: str) -> list[str]:
    return [path[0] for path in profile.places[name].json if len(path) == 1]


def _token(key: str) -> bytes:
    return f'"{key}"'.encode()


_PLAIN_IDS: Final = frozenset({str, int, Notification})
_CALL: Final = frozenset(map(_token, NAMES))
_NOTIFICATION: Final = _CALL - {_token("id")}
