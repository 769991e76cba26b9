"""The line of every key of a TOML text, for messages: `tomllib` gives values without their positions.

A statement of TOML ends at the first line end where the lines since its beginning are valid TOML by themselves. So the
text is cut into statements with tomllib's own grammar, and each key is found in the statement that sets it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.profile.problems import Location


class Lines:
    """The lines of a valid TOML text, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Location, int] = {}
        self._tables: dict[Location, int] = {}
        inside: Location = ()
        for number, statement in _statements(text):
            content = tomllib.loads(statement)
            if statement.lstrip().startswith("["):
                inside = self._header(content)
                self._note(inside, number)
            else:
                self._note_all(inside, content, statement, number)

    def line(self, location: Location) -> int:
        """The line of a key, or of the nearest table around it that was written."""
        while location and location not in self._lines:
            location = location[:-1]
        return self._lines.get(location, 1)

    def _header(self, content: Mapping[str, Any]) -> Location:
        """The location of the table that `[a.b]` or `[[a.b]]` opens."""
        location: Location = ()
        value: Any = content
        while isinstance(value, dict) and value:
            ((key, value),) = value.items()
            location = (*location, key)
            if isinstance(value, list):
                place = self._tables.get(location, -1) + 1
                self._tables[location] = place
                return (*location, place)
            if value and location in self._tables:
                location = (*location, self._tables[location])
        return location

    def _note(self, location: Location, number: int) -> None:
        for depth in range(1, len(location) + 1):
            self._lines.setdefault(location[:depth], number)

    def _note_all(self, location: Location, value: Any, statement: str, number: int) -> None:
        """Note a value and all that it contains; a text in a list of several lines has the line that it is on."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self._note((*location, key), number)
                self._note_all((*location, key), inner, statement, number)
        elif isinstance(value, list):
            at = 0
            for place, inner in enumerate(value):
                if isinstance(inner, str):
                    at = max(at, statement.find(inner, at))
                self._note((*location, place), number + statement.count("\n", 0, at))
                self._note_all((*location, place), inner, statement, number)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every statement with the number of its first line."""
    pending: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        pending.append(line)
        statement = "".join(pending)
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        yield number - len(pending) + 1, statement
        pending.clear()
