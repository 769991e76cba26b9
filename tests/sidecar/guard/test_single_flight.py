"""Single flight by itself."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.guard.single_flight import SingleFlight


async def test_who_asks_while_a_question_is_under_way_waits_for_its_answer():
    """One caller asks, and the others get its answer."""
    single_flight: SingleFlight[int] = SingleFlight()
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    answers = await asyncio.gather(*(single_flight.share("key", ask) for _ in range(5)))
    assert answers == [(1, True), *[(1, False)] * 4]


async def test_different_keys_do_not_wait_for_each_other():
    """Callers with other keys ask for themselves."""
    single_flight: SingleFlight[str] = SingleFlight()
    both = asyncio.Barrier(2)

    async def ask(key: str) -> str:
        await both.wait()
        return key

    answers = await asyncio.gather(*(single_flight.share(key, lambda key=key: ask(key)) for key in "ab"))
    assert answers == [("a", True), ("b", True)]


async def test_a_question_that_has_landed_is_asked_anew():
    """The answer is not kept for the next caller."""
    single_flight: SingleFlight[int] = SingleFlight()
    answers = iter([1, 2])

    async def ask() -> int:
        return next(answers)

    assert [await single_flight.share("key", ask), await single_flight.share("key", ask)] == [(1, True), (2, True)]


async def test_a_failure_is_everybodys_and_is_not_kept():
    """Each waiting caller gets the failure, and the next caller asks again."""
    single_flight: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        raise OSError("no")

    async def succeed() -> int:
        return 1

    results = await asyncio.gather(*(single_flight.share("key", fail) for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["no"] * 3
    assert await single_flight.share("key", succeed) == (1, True)


async def test_landed_waits_for_what_nobody_waits_for_any_more():
    """`landed` waits for a question whose callers were all cancelled."""
    single_flight: SingleFlight[None] = SingleFlight()
    opened, ended = asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        await opened.wait()
        ended.set()

    caller = asyncio.create_task(single_flight.share("key", ask))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    asyncio.get_running_loop().call_soon(opened.set)
    await single_flight.landed()
    assert ended.is_set()


async def test_a_deadline_ends_a_callers_wait_and_not_the_question():
    """A caller's time-out leaves the question to the others."""
    single_flight: SingleFlight[int] = SingleFlight()
    opened = asyncio.Event()

    async def ask() -> int:
        await opened.wait()
        return 1

    patient = asyncio.create_task(single_flight.share("key", ask))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await single_flight.share("key", ask, deadline=asyncio.get_running_loop().time())
    opened.set()
    assert await patient == (1, True)
