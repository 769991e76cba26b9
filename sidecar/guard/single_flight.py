"""Single flight: while a question about a key is under way, each caller that asks the same waits for its answer.

The question runs in a task of its own, so that a caller that goes away does not take it from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from sidecar.model import SessionKey

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """The questions under way, at most one for each key."""

    def __init__(self) -> None:
        self._under_way: dict[SessionKey, asyncio.Task[T]] = {}

    async def share(
        self, key: SessionKey, ask: Callable[[], Coroutine[Any, Any, T]], deadline: float | None = None
    ) -> tuple[T, bool]:
        """Give the answer to the question under way, or else ask; and whether this caller asked.

        Raises what `ask` raises, in every caller that waits for it. Raises TimeoutError at `deadline`, in the event
        loop's time; the question goes on.
        """
        loop = asyncio.get_running_loop()
        question = self._under_way.get(key)
        led = question is None
        if question is None:
            question = self._under_way[key] = loop.create_task(self._ask(key, ask))
        # `asyncio.wait` does the same in twice the time.
        woken: asyncio.Future[None] = loop.create_future()
        wake = partial(_wake, woken)
        question.add_done_callback(wake)
        timer = None if deadline is None else loop.call_at(deadline, wake)
        try:
            await woken
        finally:
            if timer is not None:
                timer.cancel()
        if not question.done():
            raise TimeoutError
        return question.result(), led

    async def landed(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way.values())

    async def _ask(self, key: SessionKey, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await ask()
        finally:
            # Before any caller gets the answer: a later caller asks for what became known meanwhile.
            del self._under_way[key]


def _wake(woken: asyncio.Future[None], _: object = None) -> None:
    if not woken.done():
        woken.set_result(None)
