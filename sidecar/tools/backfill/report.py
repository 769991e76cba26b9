"""What a person sees of a backfill: a bar while it runs, the first bad lines, and a table at the end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sidecar.tools.backfill.ensuring import Outcome
from sidecar.tools.backfill.job import Batch, Job
from sidecar.tools.backfill.pairs import Bad
from sidecar.tools.backfill.progress import FAILURES
from sidecar.tools.backfill.run import Acknowledged

MOST_SHOWN: Final = 10

_MEANINGS: Final = {
    Outcome.CREATED: "created",
    Outcome.FOUND: "already there",
    Outcome.CONFLICT: "conflicts",
    Outcome.GONE: "gone",
    Outcome.INVALID: "invalid",
}


class Reporter:
    """Reports one job."""

    def __init__(self, job: Job, *, dry_run: bool) -> None:
        self._job = job
        self._dry_run = dry_run
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[pairs]:,} pairs, {task.fields[rate]:,.0f}/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._before = job.done.counts.total()
        self._shown = 0
        self._started = time.monotonic()
        self._task = self._bar.add_task(
            "looking" if dry_run else "ensuring",
            total=job.total,
            completed=job.done.position.offset,
            pairs=self._before,
            rate=0.0,
        )

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar until the block ends."""
        if self._before:
            self._say(f"going on after line {self._job.done.position.line} of {self._job.name}")
        with self._bar:
            yield

    def take_in(self, batch: Batch, acknowledged: Acknowledged) -> None:
        """Show that a batch was acknowledged."""
        pairs = self._job.done.counts.total()
        rate = (pairs - self._before) / max(time.monotonic() - self._started, 0.001)
        self._bar.update(self._task, completed=batch.position.offset, pairs=pairs, rate=rate)
        for record, _ in acknowledged:
            if isinstance(record, Bad):
                self._show(record)

    def conclude(self) -> int:
        """Print the table and give the exit code: 1 where a pair could not be ensured."""
        counts = self._job.done.counts
        table = Table("pairs", "", show_header=False)
        for outcome, meaning in _MEANINGS.items():
            wish = "would be " if self._dry_run and outcome is Outcome.CREATED else ""
            table.add_row(f"{wish}{meaning}", f"{counts[outcome]:,}")
        table.add_section()
        table.add_row("all", f"{counts.total():,}")
        table.columns[1].justify = "right"
        Console(width=None if sys.stdout.isatty() else 80).print(table)
        failed = sum(counts[outcome] for outcome in FAILURES)
        if failed:
            self._say(f"{failed:,} pairs could not be ensured; they are in {self._job.failures.path}")
        return 1 if failed else 0

    def _show(self, bad: Bad) -> None:
        self._shown += 1
        if self._shown <= MOST_SHOWN:
            self._say(f"{self._job.name}, line {bad.line}: {bad.why}")
        elif self._shown == MOST_SHOWN + 1:
            self._say(f"more such lines are in {self._job.failures.path}")

    def _say(self, line: str) -> None:
        self._console.print(f"session-sidecar: {line}", markup=False, highlight=False, emoji=False, soft_wrap=True)
