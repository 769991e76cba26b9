"""One reading of JSON: what every JSON reader would find under the watched names, or a refusal.

Readers disagree about repeated keys (first or last wins), and some fold the case of keys. A text in which neither can
matter for a watched name is read by orjson alone; any other is read once more, with every key seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import orjson

from sidecar.core.refusals import ambiguous, unreadable

MOST_VALUES: Final = 500_000
"""More values than this are not read: unlike text they cost many times their size, and stop all other work."""

_LONGEST_INTEGER: Final = 18
_FOLDED_AWAY: Final = ("ſ".encode(), "\u212a".encode())
"""UTF-8 of the two characters outside ASCII that case folding turns into letters: long s and the Kelvin sign."""


class Doubtful(dict[str, Any]):
    """An object in which some watched names, kept folded in `names`, can be read more than one way."""

    names: frozenset[str]


class JsonReader:
    """Reads JSON with an eye on some names: the keys on the way to every place where an id may stand."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._folded = frozenset(map(fold, self._names))
        self._tokens = tuple(
            (f'"{folded}"'.encode(), tuple(f'"{name}"'.encode() for name in self._names if fold(name) == folded))
            for folded in sorted(self._folded)
        )
        self._escapes = tuple(sorted({escape for name in self._names for escape in _escapes_of(name)}))

    def read(self, body: bytes) -> object:
        """The value that the text stands for; objects with doubtful names come as `Doubtful`. Raises Refusal.

        Only RFC 8259 in UTF-8 is read: no byte order mark, no NaN, no lone surrogates, nothing after the value.
        """
        if len(body) > MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
            unreadable(f"The JSON body has more than {MOST_VALUES} values.")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            unreadable(f"The body is not JSON that every reader reads alike: {error.msg} at character {error.pos}.")
        return value if self._is_plain(body) else self._read_every_key(body)

    def _is_plain(self, body: bytes) -> bool:
        """Whether no watched name is written twice, in other letter case, or with escapes."""
        lower = body.lower()
        for token, spellings in self._tokens:
            count = lower.count(token)
            if count > 1 or (count and not _occurs(body, spellings)):
                return False
        if b"\\u" in body and _occurs(body, self._escapes):
            return False
        return body.isascii() or not _occurs(body, _FOLDED_AWAY)

    def _read_every_key(self, body: bytes) -> object:
        try:
            return json.loads(body.decode(), object_pairs_hook=self._object, parse_int=_integer)
        except RecursionError:
            unreadable("The JSON body is nested too deeply.")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        seen: set[str] = set()
        doubtful: set[str] = set()
        for key, _ in pairs:
            folded = fold(key)
            if folded in self._folded:
                if folded in seen or key not in self._names:
                    doubtful.add(folded)
                seen.add(folded)
        if not doubtful:
            return content
        marked = Doubtful(content)
        marked.names = frozenset(doubtful)
        return marked


def member(value: object, name: str) -> object:
    """The member of an object, None where there is no object, no such member, or null. Raises Refusal when in doubt."""
    if not isinstance(value, dict):
        return None
    if type(value) is Doubtful and fold(name) in value.names:
        ambiguous(f"The body names {name} more than once, or in a spelling that some readers take for it.")
    return value.get(name)


def fold(name: str) -> str:
    """A key as readers see it that disregard case."""
    return name.lower().replace("ſ", "s")


def _occurs(body: bytes, texts: tuple[bytes, ...]) -> bool:
    """Whether any of the texts stands in the body. A plain loop: this runs for every body."""
    for text in texts:  # noqa: SIM110  # any() with a generator costs three times as much
        if text in body:
            return True
    return False


def _escapes_of(name: str) -> Iterable[bytes]:
    """The beginnings of all escapes that could spell a character of the name, in either case."""
    for character in name + name.swapcase():
        yield f"\\u00{ord(character) >> 4:x}".encode()
    yield from (b"\\u017", b"\\u212")


def _integer(text: str) -> int | float:
    """As orjson does: what is longer than a 64-bit integer can be is a float, which any writer of JSON can write."""
    return int(text) if len(text) <= _LONGEST_INTEGER else float(text)
