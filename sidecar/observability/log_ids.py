"""Hides session and user ids in log lines: each is replaced by the same short digest wherever it stands.

A digest finds the lines about one session where its id is known. It is a pseudonym: an id that can be guessed
can be found out. The text of an exception may hold an id anywhere, so a traceback is logged without the texts.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from structlog.typing import EventDict, WrappedLogger

_ID_FIELDS: Final = ("session_id", "user_id")
_PATH_FIELDS: Final = ("path", "route")
_HIDDEN: Final = "(text hidden)"


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
        """Work as a processor of structlog, before the one that renders exceptions."""
        line = self.hidden(event)
        if (error := _exception_of(line.pop("exc_info", None))) is not None:
            line["exception"] = "\n".join(_places(error, set()))
        record = event.get("_record")
        if record is not None and record.name == "asyncio":
            # What follows the first line is the repr of tasks, with their exceptions.
            line["event"] = str(event["event"]).partition("\n")[0]
        return line

    def hidden(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Give the fields of a line with ids replaced."""
        changed = dict(fields)
        for name in _ID_FIELDS:
            if isinstance(value := fields.get(name), str):
                changed[name] = "/".join(map(digest, value.split("/")))
        for name in _PATH_FIELDS:
            if isinstance(path := fields.get(name), str):
                changed[name] = "/".join(map(self._segment, path.split("/")))
        return changed

    def _segment(self, segment: str) -> str:
        is_plain = segment in self._literals or segment in ("", "*")
        return segment if is_plain else digest(unquote(segment))


def _exception_of(exc_info: object) -> BaseException | None:
    """The exception that a log call was given, in any of the ways that the standard library and structlog know."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exception() if exc_info else None


def _places(error: BaseException, seen: set[int]) -> list[str]:
    """The lines of a traceback as the interpreter prints it, causes and groups included, without the exceptions' texts.

    The text of an OSError is the operating system's, and stays.
    """
    seen.add(id(error))
    lines = []
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        link = "was the direct cause of" if error.__cause__ is not None else "was being handled during"
        lines += [*_places(before, seen), "", f"The exception above {link} the following one:", ""]
    lines.append("Traceback (most recent call last):")
    lines += "".join(traceback.format_tb(error.__traceback__)).splitlines()
    text = str(error) if isinstance(error, OSError) else _HIDDEN
    lines.append(f"{type(error).__module__}.{type(error).__qualname__}: {text}".removeprefix("builtins."))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            lines += [f"  | {line}" for line in _places(each, seen)]
    return lines
