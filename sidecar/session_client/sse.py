"""Server-Sent Events as they come in (WHATWG HTML, section 9.2.6), comments included.

The libraries hide comments, and here a comment is the heartbeat. Lines and events are bounded, so that a faulty peer
cannot fill the memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

MOST_EVENT: Final = 64 * 1024
"""Bytes that one event, or one line, may have."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class EndlessEvent(Exception):
    """An event or a line that does not end."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` is the last id that the stream has given, which may be an earlier event's."""

    type: str
    data: str
    id: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment line: the stream's heartbeat."""


Item: TypeAlias = Event | Comment


class EventStream:
    """Turns the bytes of one stream into events and comments. `last_id` is where to go on after it broke."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self._id = last_id
        self._type = ""
        self._data: list[str] = []
        self._size = 0
        self._rest = b""
        self._begun = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[Item]:
        """Read a chunk and give the items that it completes. Raises EndlessEvent."""
        # A line feed that belongs to the carriage return before it ends no second line.
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        items = [item for item in map(self._take, lines) if item is not None]
        if self._size + len(self._rest) > MOST_EVENT:
            raise EndlessEvent(f"an event of more than {MOST_EVENT} bytes")
        return items

    def _take(self, line: bytes) -> Item | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        if line.startswith(b":"):
            return Comment()
        self._size += len(line)
        if self._size > MOST_EVENT:
            raise EndlessEvent(f"an event of more than {MOST_EVENT} bytes")
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self._set(name, value.removeprefix(" "))
        return None

    def _set(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value

    def _dispatch(self) -> Event | None:
        """An empty line completes the event; one without data changes the last id and is not reported."""
        self.last_id = self._id
        event = Event(self._type or "message", "\n".join(self._data), self._id) if self._data else None
        self._type, self._data, self._size = "", [], 0
        return event
