"""What a migration did with the rows that it found: filled in by the revisions, printed by `migrate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from alembic import context

ATTRIBUTE: Final = "migration_log"


def _unseen(_what: str, _done: int, _total: int) -> None:
    """The progress of a migration that is not displayed."""


@dataclass
class MigrationLog:
    """Rows by what became of them. `on_progress` is told a step's name, rows done and rows in all."""

    on_progress: Callable[[str, int, int], None] = _unseen
    steps: list[str] = field(default_factory=list)
    """The revisions that were run, in order, each with its direction."""
    kept: Counter[str] = field(default_factory=Counter)
    """Rows taken over, by the table that they are in now."""
    quarantined: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows and values set aside, by the table that they are in now and the reason."""
    notes: list[str] = field(default_factory=list)
    """Other changes that an operator has to know of, a sentence each."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell how far a step is."""
        self.on_progress(what, done, total)

    def lines(self, seconds: float) -> Iterator[str]:
        """The outcome for an operator. `seconds` is how long the migration took."""
        if not self.steps:
            yield "nothing to do: the schema is at that revision already"
            return
        yield from self.notes
        for table, count in sorted(self.kept.items()):
            yield f"kept: {count} rows in {table}"
        for (table, reason), count in sorted(self.quarantined.items()):
            yield f"quarantined: {count} in {table}: {reason}"
        yield f"quarantined in all: {self.quarantined.total()}"
        yield f"done: {', '.join(self.steps)} in {seconds:.1f} s"


def migration_log() -> MigrationLog:
    """The log of the migration that is being run; to be called by a revision."""
    log = context.config.attributes[ATTRIBUTE]
    assert isinstance(log, MigrationLog)  # noqa: S101 -- set by `migrations`, and by nothing else
    return log
