"""Single flight: while a question about a key is under way, each caller that asks the same waits for its answer.

The question runs in a task of its own, so that a caller that goes away does not take it from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from sidecar.model import SessionKey

T = TypeVar("T")


class _Flight(Generic[T]):
    """One question under way, and the callers that wait for its answer."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[T]] = []


class SingleFlight(Generic[T]):
    """The questions under way, at most one for each key."""

    def __init__(self) -> None:
        self._under_way: dict[SessionKey, _Flight[T]] = {}

    async def share(
        self, key: SessionKey, ask: Callable[[], Coroutine[Any, Any, T]], deadline: float | None = None
    ) -> tuple[T, bool]:
        """Give the answer to the question under way, or else ask; and whether this caller asked.

        Raises what `ask` raises, in every caller that waits for it. Raises TimeoutError at `deadline`, in the event
        loop's time; the question goes on.
        """
        loop = asyncio.get_running_loop()
        flight = self._under_way.get(key)
        led = flight is None
        if flight is None:
            flight = self._under_way[key] = _Flight()
            flight.task = loop.create_task(self._fly(key, flight, ask))
        waiter: asyncio.Future[T] = loop.create_future()
        flight.waiting.append(waiter)
        if deadline is None:
            return await waiter, led
        timer = loop.call_at(deadline, _expire, waiter)
        try:
            return await waiter, led
        finally:
            timer.cancel()

    async def landed(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait([flight.task for flight in self._under_way.values()])

    async def _fly(self, key: SessionKey, flight: _Flight[T], ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        try:
            answer = await ask()
        except asyncio.CancelledError:
            del self._under_way[key]
            for waiter in flight.waiting:
                waiter.cancel()
            raise
        except Exception as error:
            del self._under_way[key]
            waiting = [waiter for waiter in flight.waiting if not waiter.done()]
            for waiter in waiting:
                waiter.set_exception(error)
            if not waiting:
                raise
        else:
            # Before any caller gets the answer: a later caller asks for what became known meanwhile.
            del self._under_way[key]
            for waiter in flight.waiting:
                if not waiter.done():
                    waiter.set_result(answer)


def _expire(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
