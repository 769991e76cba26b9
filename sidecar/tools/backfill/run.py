"""The work of a backfill: batches from a source, some of them in flight, acknowledged in the order they were read."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

from sidecar.tools.backfill.ensuring import MOST_AT_ONCE, Ensure, Outcome
from sidecar.tools.backfill.pairs import Bad, Pair, PairFile, Position, Record
from sidecar.tools.backfill.progress import FAILURES, Done, FailureList

IN_FLIGHT: Final = 4

Acknowledged: TypeAlias = list[tuple[Record, Outcome]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records, where to go on after them, and how far into the source that is, in the source's own unit."""

    records: list[Record]
    position: Position
    reached: int


async def batches_of_file(pairs: PairFile) -> AsyncGenerator[Batch]:
    """Read a file or a pipe in a thread: a pipe may keep its reader waiting."""
    records = iter(pairs)
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(records, MOST_AT_ONCE))):
        yield Batch(batch, pairs.position, pairs.position.offset)


async def batches_of_rows(rows: AsyncGenerator[Record]) -> AsyncGenerator[Batch]:
    """Gather rows that come one by one."""
    batch: list[Record] = []
    count = 0
    async with aclosing(rows):
        async for record in rows:
            count += 1
            batch.append(record)
            if len(batch) == MOST_AT_ONCE:
                yield Batch(batch, Position(line=count), count)
                batch = []
    if batch:
        yield Batch(batch, Position(line=count), count)


async def backfill_all(
    source: AsyncGenerator[Batch],
    ensure: Ensure,
    done: Done,
    failures: FailureList,
    on_batch: Callable[[Batch, Acknowledged], None],
) -> None:
    """Ensure everything in `source`, adding to `done` and `failures`; `on_batch` is called after each batch.

    Raises what the source, `ensure` and the files raise; what was acknowledged until then is in `done`.
    """
    under_way: deque[tuple[Batch, asyncio.Task[Acknowledged]]] = deque()

    async def take_in_oldest() -> None:
        """Take in the oldest batch. In this order alone one position says what was done."""
        batch, task = under_way[0]
        acknowledged = await task
        under_way.popleft()
        failures.add((record, outcome) for record, outcome in acknowledged if outcome in FAILURES)
        done.counts.update(outcome for _, outcome in acknowledged)
        done.position, done.failures_size = batch.position, failures.size
        on_batch(batch, acknowledged)

    try:
        async with aclosing(source):
            async for batch in source:
                # The first user of a session is its owner, so two batches that name one session keep their order.
                while any(_sessions(batch) & _sessions(earlier) for earlier, _ in under_way):
                    await take_in_oldest()
                under_way.append((batch, asyncio.create_task(_acknowledge(batch, ensure))))
                if len(under_way) == IN_FLIGHT:
                    await take_in_oldest()
        while under_way:
            await take_in_oldest()
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)


async def _acknowledge(batch: Batch, ensure: Ensure) -> Acknowledged:
    pairs = [record for record in batch.records if isinstance(record, Pair)]
    outcomes = iter(await ensure(pairs) if pairs else [])
    return [(record, Outcome.INVALID if isinstance(record, Bad) else next(outcomes)) for record in batch.records]


def _sessions(batch: Batch) -> set[str]:
    return {record.session_id for record in batch.records if isinstance(record, Pair)}
