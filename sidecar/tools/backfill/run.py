"""The work of a backfill: batches from a source, some of them in flight, acknowledged in the order they were read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, TypeAlias

from sidecar.tools.backfill.ensuring import Ensure, Outcome
from sidecar.tools.backfill.job import Batch, Job
from sidecar.tools.backfill.pairs import Bad, Pair, Record
from sidecar.tools.backfill.progress import FAILURES

IN_FLIGHT: Final = 4

Acknowledged: TypeAlias = list[tuple[Record, Outcome]]


async def backfill_all(job: Job, ensure: Ensure, on_batch: Callable[[Batch, Acknowledged], None]) -> None:
    """Ensure everything in the source of the job, and note what is done; `on_batch` is called after each batch.

    Raises what the source, `ensure` and the files raise; what was acknowledged until then is noted.
    """
    done = job.done
    under_way: deque[tuple[Batch, asyncio.Task[Acknowledged]]] = deque()

    async def take_in_oldest() -> None:
        """Take in the oldest batch. In this order alone one position says what was done."""
        batch, task = under_way[0]
        acknowledged = await task
        under_way.popleft()
        job.failures.add((record, outcome) for record, outcome in acknowledged if outcome in FAILURES)
        done.counts.update(outcome for _, outcome in acknowledged)
        done.position, done.failures_size = batch.position, job.failures.size
        if job.progress is not None:
            job.progress.save(done)
        on_batch(batch, acknowledged)

    try:
        async with aclosing(job.source):
            async for batch in job.source:
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
