"""The work of a backfill: batches from a source, some of them in flight, acknowledged in the order they were read."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

from sidecar.tools.backfill.ensuring import MOST_AT_ONCE, Ensure, Outcome
from sidecar.tools.backfill.pairs import Bad, Pair, PairFile, Position, Record
from sidecar.tools.backfill.progress import FAILURES, Done, FailureList

IN_FLIGHT: Final = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Records, where to go on after them, and how far into the source that is, in the source's own unit."""

    records: list[Record]
    position: Position
    reached: int


class FromFile:
    """Batches of a file or a pipe, read in a thread: a pipe may keep its reader waiting."""

    def __init__(self, pairs: PairFile) -> None:
        self._pairs = pairs

    async def batches(self) -> AsyncGenerator[Batch]:
        """Give all records in order."""
        records = iter(self._pairs)
        while batch := await asyncio.to_thread(_take, records):
            position = self._pairs.position
            yield Batch(batch, position, position.offset)


class FromRows:
    """Batches of rows that come one by one."""

    def __init__(self, rows: AsyncGenerator[Record]) -> None:
        self._rows = rows

    async def batches(self) -> AsyncGenerator[Batch]:
        """Give all records in order."""
        batch: list[Record] = []
        count = 0
        async with aclosing(self._rows) as rows:
            async for record in rows:
                count += 1
                batch.append(record)
                if len(batch) == MOST_AT_ONCE:
                    yield Batch(batch, Position(line=count), count)
                    batch = []
        if batch:
            yield Batch(batch, Position(line=count), count)


Source: TypeAlias = FromFile | FromRows
Acknowledged = list[tuple[Record, Outcome]]


async def backfill_all(
    source: Source, ensure: Ensure, done: Done, failures: FailureList, on_batch: Callable[[Batch, Acknowledged], None]
) -> None:
    """Ensure everything in `source`, adding to `done` and `failures`; `on_batch` is called after each batch.

    Raises what the source, `ensure` and the files raise; what was acknowledged until then is in `done`.
    """
    under_way: deque[tuple[Batch, asyncio.Task[Acknowledged]]] = deque()
    try:
        async with aclosing(source.batches()) as batches:
            async for batch in batches:
                # The first user of a session is its owner, so two batches that name one session keep their order.
                while any(_sessions(batch) & _sessions(earlier) for earlier, _ in under_way):
                    await _finish(under_way, done, failures, on_batch)
                under_way.append((batch, asyncio.create_task(_acknowledge(batch, ensure))))
                if len(under_way) == IN_FLIGHT:
                    await _finish(under_way, done, failures, on_batch)
        while under_way:
            await _finish(under_way, done, failures, on_batch)
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)


async def _finish(
    under_way: deque[tuple[Batch, asyncio.Task[Acknowledged]]],
    done: Done,
    failures: FailureList,
    on_batch: Callable[[Batch, Acknowledged], None],
) -> None:
    """Take in the oldest batch. In this order alone one position says what was done."""
    batch, task = under_way[0]
    acknowledged = await task
    under_way.popleft()
    failures.add((record, outcome) for record, outcome in acknowledged if outcome in FAILURES)
    done.counts.update(outcome for _, outcome in acknowledged)
    done.position, done.failures_size = batch.position, failures.size
    on_batch(batch, acknowledged)


async def _acknowledge(batch: Batch, ensure: Ensure) -> Acknowledged:
    pairs = [record for record in batch.records if isinstance(record, Pair)]
    outcomes = iter(await ensure(pairs) if pairs else [])
    return [(record, Outcome.INVALID if isinstance(record, Bad) else next(outcomes)) for record in batch.records]


def _sessions(batch: Batch) -> set[str]:
    return {record.session_id for record in batch.records if isinstance(record, Pair)}


def _take(records: Iterable[Record]) -> list[Record]:
    return list(itertools.islice(records, MOST_AT_ONCE))
