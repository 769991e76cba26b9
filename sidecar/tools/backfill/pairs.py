"""Reads (user_id, session_id) pairs from JSON lines or CSV, bounded in memory, and knows where to go on after each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO, Final, TypeAlias

import orjson

from sidecar.extract.ids import is_safe
from sidecar.tools.tool import Failed

MOST_LINE: Final = 1 << 20
ALLOWED: Final = '{"user_id": "…", "session_id": "…"} is allowed'
GRAMMAR: Final = "1 to 255 of A-Z a-z 0-9 . _ ~ : @ | + = - are allowed, but not . or .."

_NAMES: Final = ("user_id", "session_id")


class UnreadableSource(Failed):
    """The whole source is not what it has to be; the message is one line for a person."""


class SourceFailed(Exception):
    """The source broke off, or could not be reached; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a file reading goes on: bytes and lines that were read."""

    offset: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """A session to make sure of. `line` is where it stands in its source, or the number of its row."""

    line: int
    user_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that holds no pair, and why."""

    line: int
    why: str


Record: TypeAlias = Pair | Bad


def make_record(line: int, user_id: object, session_id: object) -> Record:
    """Check both ids against the safe grammar."""
    for name, value in zip(_NAMES, (user_id, session_id), strict=True):
        if value is None:
            return Bad(line, f"no {name}: each pair needs a user_id and a session_id")
        if not isinstance(value, str):
            return Bad(line, f"{name} is not a string: {GRAMMAR}")
        if not is_safe(value):
            return Bad(line, f"{name} {_shortened(value)!r} is no id: {GRAMMAR}")
    return Pair(line, str(user_id), str(session_id))


def columns_of(names: Sequence[str]) -> tuple[int, int] | None:
    """Where in each row the ids of user and session stand; None where one of the columns is missing."""
    known = [name.strip().lower() for name in names]
    return (known.index("user_id"), known.index("session_id")) if set(_NAMES) <= set(known) else None


class PairFile:
    """The records of a file or pipe in order. `position` is behind the record that was given last."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Find out the format: by the name's ending, or by the first character. Raises UnreadableSource."""
        self._lines = _Lines(file)
        self._is_csv = _is_csv(name, self._lines)
        self._columns: tuple[int, int] | None = None
        self._name = name
        if self._is_csv:
            self._columns = self._read_header()

    @property
    def position(self) -> Position:
        return Position(self._lines.offset, self._lines.number)

    def go_on_at(self, position: Position) -> None:
        """Skip what was read before; the file must be seekable."""
        self._lines.go_to(position)

    def __iter__(self) -> Iterator[Record]:
        """Give what every line holds; empty ones hold nothing."""
        return self._csv_records(self._columns) if self._columns else self._json_records()

    def _json_records(self) -> Iterator[Record]:
        for line in self._lines:
            if line.strip():
                yield self._too_long() or _json_record(self._lines.number, line)

    def _csv_records(self, columns: tuple[int, int]) -> Iterator[Record]:
        rows = csv.reader(map(_decode, self._lines))
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield Bad(self._lines.number, f"not CSV: {error}")
                continue
            if row:
                cells = [row[column] if column < len(row) else None for column in columns]
                yield self._too_long() or make_record(self._lines.number, *cells)

    def _too_long(self) -> Bad | None:
        return Bad(self._lines.number, f"longer than {MOST_LINE} bytes") if self._lines.was_cut else None

    def _read_header(self) -> tuple[int, int]:
        header = next(csv.reader(map(_decode, self._lines)), [])
        columns = columns_of(header)
        if columns is None:
            raise UnreadableSource(
                f"{self._name}, line 1: the first line of a CSV file names its columns, user_id and session_id among"
                f" them; found {', '.join(map(_shortened, header)) or 'nothing'}"
            )
        return columns


class _Lines:
    """The lines of a file with their place; a line that does not end is cut, and the rest of it skipped."""

    def __init__(self, file: BinaryIO) -> None:
        self.offset = 0
        self.number = 0
        self.was_cut = False
        self._file = file
        self._ahead = b""

    def peek(self) -> bytes:
        """The next line, which is read again afterwards."""
        if not self._ahead:
            self._ahead = self._file.readline(MOST_LINE)
        return self._ahead

    def go_to(self, position: Position) -> None:
        self._ahead = b""
        self._file.seek(position.offset)
        self.offset, self.number = position.offset, position.line

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line, self._ahead = self._ahead or self._file.readline(MOST_LINE), b""
        if not line:
            raise StopIteration
        self.offset += len(line)
        self.was_cut = len(line) == MOST_LINE and not line.endswith(b"\n")
        rest = line
        while len(rest) == MOST_LINE and not rest.endswith(b"\n"):
            rest = self._file.readline(MOST_LINE)
            self.offset += len(rest)
        self.number += 1
        return line.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else line


def _is_csv(name: str, lines: _Lines) -> bool:
    suffix = PurePath(name).suffix.lower()
    if suffix in {".jsonl", ".ndjson", ".csv"}:
        return suffix == ".csv"
    first = lines.peek().removeprefix(b"\xef\xbb\xbf").lstrip()
    if first.startswith(b"["):
        raise UnreadableSource(f"{name}, line 1: a JSON array; one object a line, {ALLOWED}")
    return bool(first) and not first.startswith(b"{")


def _json_record(number: int, line: bytes) -> Record:
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Bad(number, f"not JSON ({error.msg}): {ALLOWED}")
    if not isinstance(value, dict):
        return Bad(number, f"not a JSON object: {ALLOWED}")
    return make_record(number, value.get("user_id"), value.get("session_id"))


def _decode(line: bytes) -> str:
    # What is no UTF-8 becomes characters that no id may have.
    return line.decode("utf-8", "surrogateescape")


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
