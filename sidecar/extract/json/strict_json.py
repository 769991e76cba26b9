"""One reading of JSON: what every JSON reader would find under the watched names, or a refusal.

Readers disagree about repeated keys (first or last wins), some fold the case of keys, and some end a key at a NUL. A
text in which none of that can matter for a watched name is read by orjson alone; any other is read once more, with
every key seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

from sidecar.extract.refused import ambiguous, unreadable

MOST_VALUES: Final = 250_000
"""More values than this are not read: unlike text they cost many times their size, and stop all other work."""

MOST_VALUES_TWICE: Final = 100_000
"""The same for a text that has to be read with every key seen, which is slower."""

_LONGEST_INTEGER: Final = 20
"""Characters of a 64-bit integer, signed or not."""
_BACKSLASH: Final = ord("\\")
_FOLD_INTO: Final = {"s": "ſ", "k": "\u212a", "i": "\u0130\u0131"}
"""The characters outside ASCII that some reader's case folding turns into a letter of it."""


class Doubtful(dict[str, Any]):
    """An object in which some watched names, kept folded in `names`, can be read more than one way."""

    names: frozenset[str]


class JsonReader:
    """Reads JSON with an eye on some names: the keys on the way to every place where an id may stand."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._folded = frozenset(map(fold, self._names))
        self._has_twins = len(self._folded) != len(self._names)
        self._lengths = frozenset(map(len, self._names))
        self._tokens = frozenset(map(_token, self._names))
        self._find_names = re.compile(b'"(?:%b)"' % _any_of(map(_any_case, self._names))).findall
        # The same names in ASCII alone, which is faster to search for.
        self._find_in_ascii = re.compile(b'"(?:%b)"' % _any_of(map(re.escape, self._names)), re.IGNORECASE).findall
        # The escapes that could spell a letter of a name, or one that folds into it, or NUL.
        nibbles = {f"0{ord(letter) >> 4:x}" for name in self._names for letter in name + name.swapcase()}
        self._find_escape = re.compile(rb"\\u(?:0(?:000|13|17|%b)|212)" % _any_of(nibbles)).search

    def read(self, body: bytes) -> object:
        """The value that the text stands for; objects with doubtful names come as `Doubtful`. Raises RequestRefused.

        Only RFC 8259 in UTF-8 is read: no byte order mark, no NaN, no lone surrogates, nothing after the value.
        """
        _check_size(body, MOST_VALUES)
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            unreadable(f"The body is not JSON that every reader reads alike: {error.msg} at character {error.pos}.")
        return self._read_every_key(body) if self.plain_names(body) is None else value

    def plain_names(self, body: bytes) -> frozenset[bytes] | None:
        """The watched names that the text contains, in their quotes.

        None if one is written twice, in other letter case, or perhaps with escapes.
        """
        written = self._find_in_ascii(body) if body.isascii() else self._find_names(body)
        names = frozenset(written)
        if len(names) != len(written) or not names <= self._tokens:
            return None
        if self._has_twins and len(set(map(bytes.lower, names))) != len(names):
            return None
        return None if _BACKSLASH in body and self._find_escape(body) else names

    def names_among(self, keys: tuple[str, ...]) -> frozenset[bytes] | None:
        """Give the `plain_names` of a text with just these keys."""
        watched = [key for key in keys if fold(key) in self._folded]
        is_plain = self._names.issuperset(watched) and len(set(map(fold, watched))) == len(watched)
        return frozenset(map(_token, watched)) if is_plain and "\0" not in "".join(keys) else None

    def _read_every_key(self, body: bytes) -> object:
        _check_size(body, MOST_VALUES_TWICE)
        try:
            return json.loads(body.decode(), object_pairs_hook=self._object, parse_int=_integer)
        except RecursionError:
            unreadable("The JSON body is nested too deeply.")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        seen: set[str] = set()
        doubtful: set[str] = set()
        for key, _ in pairs:
            # Folding changes no length, and this test costs next to nothing.
            if len(key) in self._lengths and (folded := fold(key)) in self._folded:
                if folded in seen or key not in self._names:
                    doubtful.add(folded)
                seen.add(folded)
            elif "\0" in key:
                # A reader of C strings ends the key there; another leaves NUL out.
                doubtful |= self._folded & {fold(key.partition("\0")[0]), fold(key.replace("\0", ""))}
        if not doubtful:
            return content
        marked = Doubtful(content)
        marked.names = frozenset(doubtful)
        return marked


def member(value: object, name: str) -> object:
    """The member of an object; None for null, and where there is none. Raises RequestRefused when in doubt."""
    if not isinstance(value, dict):
        return None
    if type(value) is Doubtful and fold(name) in value.names:
        ambiguous(f"The body names {name} more than once, or in a spelling that some readers take for it.")
    return value.get(name)


def fold(name: str) -> str:
    """The key as readers see it that disregard case: Go folds `ſ` and the Kelvin sign, Java `İ` and `ı`."""
    return name.lower().replace("ſ", "s").replace("i\u0307", "i").replace("ı", "i")


def _token(name: str) -> bytes:
    """The name as JSON writes it."""
    return f'"{name}"'.encode()


def _check_size(body: bytes, most: int) -> None:
    """Refuse a text with too many values, of which there are no more than commas and opening brackets."""
    if len(body) > most and len(body) - len(body.translate(None, b",[{")) > most:
        unreadable(f"The JSON body has more than {most} values.")


def _any_case(name: str) -> str:
    """A pattern for the name in every letter case, the characters that fold into its letters included."""
    return "".join(map(_any_case_of_letter, name))


def _any_case_of_letter(letter: str) -> str:
    lower, upper = letter.lower(), letter.upper()
    if lower == upper:
        return re.escape(letter)
    return "(?:" + "|".join([f"[{lower}{upper}]", *_FOLD_INTO.get(lower, "")]) + ")"


def _any_of(texts: Iterable[str]) -> bytes:
    """A pattern for any of the texts, themselves patterns; nothing matches it if there are none."""
    return "|".join(sorted(texts)).encode() or b"(?!)"


def _integer(text: str) -> int | float:
    """As orjson does: what is longer than a 64-bit integer can be is a float, which any writer of JSON can write."""
    # By its length first: to read a long one as an integer takes a time that grows with the square of it.
    if len(text) <= _LONGEST_INTEGER and -(2**63) <= (value := int(text)) < 2**64:
        return value
    return float(text)
