"""Items that come together are done together, and no item fails because of another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service_kit.coalesce import Coalescer


class Work:
    """Doubles numbers, and waits at a gate while it is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.coalescer = Coalescer(self, limit=3, common=ConnectionError)

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if 13 in items:
            raise ValueError("unlucky")
        if 99 in items:
            raise ConnectionError("nobody there")
        return [item * 2 for item in items]


async def test_a_lone_item_waits_for_nobody() -> None:
    """Items that come one after the other are done one by one."""
    work = Work()
    assert [await work.coalescer.submit(item) for item in (1, 2)] == [2, 4]
    assert work.batches == [[1], [2]]


async def test_what_arrives_meanwhile_is_done_together_up_to_the_limit() -> None:
    """Each gets its own outcome."""
    work = Work()
    work.gate.clear()
    first = asyncio.create_task(work.coalescer.submit(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(work.coalescer.submit(item)) for item in range(2, 7)]
    await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10, 12]
    assert work.batches == [[1], [2, 3, 4], [5, 6]]


async def test_a_common_failure_reaches_all_and_ends_nothing() -> None:
    """The next batch is done as if nothing had been."""
    work = Work()
    outcomes = await asyncio.gather(*(work.coalescer.submit(item) for item in (99, 2)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError]
    assert await work.coalescer.submit(5) == 10
    assert work.batches == [[99, 2], [5]]


async def test_nobody_fails_for_anothers_sake() -> None:
    """A batch that one item spoils is done item by item."""
    work = Work()
    outcomes = await asyncio.gather(*(work.coalescer.submit(item) for item in (1, 13, 2)), return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == [2, 4]
    assert isinstance(outcomes[1], ValueError)


@pytest.mark.parametrize("item", [1, 13, 99])
async def test_a_caller_that_goes_away_changes_nothing_for_the_others(item: int) -> None:
    """Its item is done all the same."""
    work = Work()
    work.gate.clear()
    leaving, staying = (asyncio.create_task(work.coalescer.submit(one)) for one in (item, 2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    work.gate.set()
    (outcome,) = await asyncio.gather(staying, return_exceptions=True)
    assert work.batches[0] == [item, 2]
    assert isinstance(outcome, ConnectionError) if item == 99 else outcome == 4
