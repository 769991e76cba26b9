"""Hides session and user ids in log lines: each is replaced by the same short digest wherever it stands.

A digest lets lines about one session be found, by those who know its id: it is a pseudonym, and ids that can be guessed
can be found out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from structlog.typing import EventDict, WrappedLogger

_ID_FIELDS: Final = ("session_id", "user_id")


def digest(text: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of an id."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class HashedIds:
    """Replaces the fields `session_id` and `user_id`, and in `path` every segment that may be an id.

    `literals` are the segments that the profile's paths spell out; the digest of an id in a path is that of the field.
    """

    def __init__(self, literals: Iterable[str]) -> None:
        self._literals = frozenset(literals)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Work as a processor of structlog."""
        return {**event, **self.hidden(event)}

    def hidden(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Give the fields of a line with ids replaced."""
        changed = dict(fields)
        for name in _ID_FIELDS:
            if isinstance(value := fields.get(name), str):
                changed[name] = "/".join(map(digest, value.split("/")))
        if isinstance(path := fields.get("path"), str):
            changed["path"] = "/".join(map(self._segment, path.split("/")))
        return changed

    def _segment(self, segment: str) -> str:
        return segment if segment in self._literals or not segment else digest(unquote(segment))
