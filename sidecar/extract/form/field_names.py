"""Names of form and query fields: the watched ones, and every spelling that a common reader decodes into one of them.

Readers treat odd names differently: PHP turns `.`, a space and an unclosed `[` into `_` and ends a name at a NUL,
werkzeug and aiohttp remove backslashes, Node drops a leading `?` and a byte order mark, Rails and qs open brackets.
So a name of letters, digits, `_` and `-` is compared as it is, a name with brackets step by step, and any other name by
its letters and digits alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from sidecar.extract.form.content_type import check_charset_name
from sidecar.extract.json.strict_json import fold
from sidecar.extract.refused import ambiguous

MOST_DECODINGS: Final = 3
"""How many times a name is percent-decoded beyond the reader's own decoding."""

LONGEST_NAME: Final = 256
"""Of a longer name only the beginning is looked at, without the space before it: to decode megabytes takes too long."""

SPACE: Final = "".join(map(chr, range(0x21)))

_PLAIN = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_BRACKETED = re.compile(r"[A-Za-z0-9_-]+(?:\[[A-Za-z0-9_-]*\])+").fullmatch
_BRACKETS = re.compile(r"[\[\]]+")
# What some reader drops, trims, unescapes, turns into an underscore, or ends a name at.
_IGNORABLE = re.compile(r"[\x00-\x20\x7f.\[\]\\'\"`?;#%&+]+")
_SEPARATORS = re.compile(r"[_-]+")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_UNICODE_ESCAPE = re.compile(r"%u([0-9A-Fa-f]{4})")
_CHARSET_FIELD: Final = "_charset_"


class FieldNames:
    """The field names to watch. In a form the JSON paths are watched too: `context[session_id]` names one of them."""

    def __init__(self, names: Iterable[str], json_paths: Iterable[tuple[str, ...]] = ()) -> None:
        self._names = frozenset(names)
        paths = [*((name,) for name in self._names), *json_paths]
        self._paths = frozenset(tuple(map(fold, path)) for path in paths)
        self._letters = frozenset("".join(_SEPARATORS.sub("", step) for step in path) for path in self._paths)
        self._longest = max(map(len, self._letters), default=0)

    def is_watched(self, name: str) -> bool:
        """Whether this is a watched name. Raises RequestRefused for another name that some reader takes for one."""
        if name in self._names:
            return True
        if _PLAIN(name):
            alike = (fold(name),) in self._paths
        elif _BRACKETED(name):
            steps = tuple(step for step in _BRACKETS.split(fold(name)) if step)
            alike = any(steps[: len(path)] == path for path in self._paths)
        else:
            alike = self.may_begin(name.lstrip(SPACE)[:LONGEST_NAME])
        if alike:
            ambiguous("A field has a name that some readers take for a session or user id.")
        return False

    def reads_value(self, name: str) -> bool:
        """Whether `collect` looks at the value of a field of this name."""
        return name in self._names or "charset" in name

    def may_contain(self, text: str) -> bool:
        """Whether a text that is no name may have a watched name in it, in any spelling, or name a charset."""
        for decoded in map(_ascii, _decodings(text)):
            letters = _NO_LETTERS.sub("", decoded)
            if "charset" in letters or any(name in letters for name in self._letters):
                return True
        return False

    def may_begin(self, name: str) -> bool:
        """Whether the text, decoded as often as any reader might, begins like a watched name."""
        return any(map(self._begins, map(_ascii, _decodings(name))))

    def _begins(self, text: str) -> bool:
        letters = ""
        for part in _IGNORABLE.split(text):
            letters += _SEPARATORS.sub("", part)
            if letters in self._letters:
                return True
            if len(letters) > self._longest:
                return False
        return False

    def collect(self, fields: Iterable[tuple[str, object]]) -> Mapping[str, object]:
        """The watched ones among the fields.

        Raises RequestRefused where one comes twice, and for a `_charset_` field (RFC 7578, section 4.6) that names a
        charset in which the ids would be other text.
        """
        found: dict[str, object] = {}
        for name, value in fields:
            if self.is_watched(name):
                if name in found:
                    ambiguous(f"The field {name} is there more than once.")
                found[name] = value
            elif "charset" in name and _IGNORABLE.sub("", _ascii(name)) == _CHARSET_FIELD:
                check_charset_name(value if isinstance(value, bytes) else str(value).encode())
        return found


def _ascii(text: str) -> str:
    """The text folded, without what is not ASCII then: marks are dropped by some readers, broken bytes by others."""
    return fold(text).encode("ascii", "ignore").decode("ascii")


def _decodings(name: str) -> Iterator[str]:
    yield name
    for _ in range(MOST_DECODINGS):
        if "%" not in name:
            return
        before, name = name, unquote(_UNICODE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name))
        if name == before:
            return
        yield name
