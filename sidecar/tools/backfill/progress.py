"""What a backfill has done so far, in a file beside its source, so that a killed one goes on where it was.

Written only after the session service has acknowledged: a kill at any moment repeats some pairs, and loses none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from sidecar.tools.backfill.ensuring import Outcome
from sidecar.tools.backfill.pairs import Bad, Pair, Position
from sidecar.tools.replace_file import replace_file

FAILURES: Final = {
    Outcome.CONFLICT: "the session belongs to another user",
    Outcome.GONE: "the session was deleted",
    Outcome.INVALID: "the session service does not accept the ids",
}
"""What of a pair is a failure, and why."""

_EACH_END: Final = 64 * 1024


@dataclass
class Done:
    """Where to go on, what came of the pairs before, and how long the list of failures was then."""

    position: Position = field(default_factory=Position)
    counts: Counter[Outcome] = field(default_factory=Counter)
    failures_size: int = 0


@dataclass
class _Record:
    """What is done of one file, known by its fingerprint, with one session service."""

    service: str
    fingerprint: str
    done: Done


_RECORD: Final = TypeAdapter(_Record)


class ProgressFile:
    """The record of one source and one session service, in a file beside the source. It counts for no other."""

    def __init__(self, source: Path, service: str) -> None:
        self._path = source.with_name(f"{source.name}.backfill-progress")
        self._source = source
        self._service = service

    def load(self) -> Done:
        """What an interrupted run had done; nothing where there was none, or where it was of something else."""
        try:
            record = _RECORD.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return Done()
        position = record.done.position
        is_ours = record.service == self._service and record.fingerprint == self._fingerprint(position)
        return record.done if is_ours and self._source.stat().st_size >= position.offset else Done()

    def save(self, done: Done) -> None:
        """Replace the record as a whole. Raises OSError."""
        record = _Record(self._service, self._fingerprint(done.position), done)
        replace_file(self._path, _RECORD.dump_json(record))

    def remove(self) -> None:
        """The work is done: the next run is a new one."""
        self._path.unlink(missing_ok=True)

    def _fingerprint(self, position: Position) -> str:
        """Of both ends of what was read: it stays the same while lines are appended, and no line can be inserted."""
        with self._source.open("rb") as file:
            digest = hashlib.sha256(file.read(min(_EACH_END, position.offset)))
            file.seek(max(0, position.offset - _EACH_END))
            digest.update(file.read(min(_EACH_END, position.offset)))
        return digest.hexdigest()


class FailureList:
    """The pairs that could not be ensured, one JSON object a line; made when there is the first."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """`size` is what an earlier run had acknowledged; what it wrote beyond that will be written again."""
        self.path = path
        self.size = size
        self._file: BinaryIO | None = None
        if size == 0:
            path.unlink(missing_ok=True)

    def add(self, failures: Iterable[tuple[Pair | Bad, Outcome]]) -> None:
        """Write some down. Raises OSError."""
        lines = b"".join(orjson.dumps(_described(record, outcome)) + b"\n" for record, outcome in failures)
        if not lines:
            return
        if self._file is None:
            self._file = self.path.open("r+b" if self.size else "wb")
            self._file.truncate(self.size)
            self._file.seek(self.size)
        self._file.write(lines)
        self._file.flush()
        self.size += len(lines)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _described(record: Pair | Bad, outcome: Outcome) -> dict[str, object]:
    if isinstance(record, Bad):
        return {"line": record.line, "result": outcome, "why": record.why}
    pair = {"line": record.line, "user_id": record.user_id, "session_id": record.session_id}
    return {**pair, "result": outcome, "why": FAILURES[outcome]}
