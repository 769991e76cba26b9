"""What one backfill reads, and the files beside it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.tools.backfill.ensuring import MOST_AT_ONCE
from sidecar.tools.backfill.pairs import PairFile, Position, Record, UnreadableSource
from sidecar.tools.backfill.progress import Done, FailureList, ProgressFile


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line said: a file or `-`, or a database and a query."""

    file: str | None
    url: str | None
    query: str | None
    dry_run: bool

    @property
    def resumes(self) -> bool:
        """Whether a run that was broken off goes on where it was. A pipe is gone, and a query's rows may change."""
        return self.file is not None and self.file != "-"


@dataclass(frozen=True, slots=True)
class Batch:
    """Records, and where to go on after them: in a query the offset is a number of rows."""

    records: list[Record]
    position: Position


@dataclass
class Job:
    """A source with the files that belong to it. `total` is in the unit of its batches, None where it is not known."""

    name: str
    source: AsyncGenerator[Batch]
    total: int | None
    failures: FailureList
    progress: ProgressFile | None = None
    done: Done = field(default_factory=Done)


async def open_job(stack: AsyncExitStack, request: Request, service: str) -> Job:
    """Open the source, and go on where an earlier run stopped. Raises UnreadableSource, SourceFailed, OSError."""
    if request.url is not None:
        return await _open_query(stack, request)
    if not request.resumes:
        pairs = await asyncio.to_thread(PairFile, sys.stdin.buffer, "standard input")
        return Job("standard input", _batches_of_file(pairs), None, FailureList(_beside(Path("backfill"), request)))
    return _open_file(stack, request, service)


async def _open_query(stack: AsyncExitStack, request: Request) -> Job:
    try:
        from sidecar.tools.backfill.pairs_from_sql import PairQuery  # noqa: PLC0415 # needs an extra that may be missing
    except ImportError:
        raise UnreadableSource("--from-sql needs an extra: pip install 'session-sidecar[services]'") from None
    query = PairQuery(str(request.url), str(request.query))
    stack.push_async_callback(query.aclose)
    total = await query.count()
    failures = FailureList(_beside(Path("backfill"), request))
    return Job("the query", _batches_of_rows(query.records(MOST_AT_ONCE)), total, failures)


def _open_file(stack: AsyncExitStack, request: Request, service: str) -> Job:
    path = Path(str(request.file))
    try:
        file = stack.enter_context(path.open("rb"))
    except OSError as error:
        raise UnreadableSource(f"{path}: {error.strerror}; a file of JSON lines or CSV is allowed") from error
    pairs = PairFile(file, str(path))
    progress = None if request.dry_run else ProgressFile(path, service)
    done = Done() if progress is None else progress.load()
    if done.position.offset:
        pairs.go_on_at(done.position)
    failures = FailureList(_beside(path, request), done.failures_size)
    return Job(str(path), _batches_of_file(pairs), path.stat().st_size, failures, progress, done)


def _beside(path: Path, request: Request) -> Path:
    """A trial must not disturb the list that a run which was broken off has begun."""
    return path.with_name(f"{path.name}{'.dry-run' if request.dry_run else ''}.failures.jsonl")


async def _batches_of_file(pairs: PairFile) -> AsyncGenerator[Batch]:
    """Read a file or a pipe in a thread: a pipe may keep its reader waiting."""
    records = iter(pairs)
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(records, MOST_AT_ONCE))):
        yield Batch(batch, pairs.position)


async def _batches_of_rows(rows: AsyncGenerator[list[Record]]) -> AsyncGenerator[Batch]:
    count = 0
    async with aclosing(rows):
        async for records in rows:
            count += len(records)
            yield Batch(records, Position(count, count))
