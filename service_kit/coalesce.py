"""Does work in batches: what arrives while a batch is under way makes up the next one.

A lone item does not wait; items that arrive together share a transaction, and with it the one write to disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Coalescer(Generic[Item, Outcome]):
    """Hands items to `work`, at most `limit` at a time, and each outcome to the caller that brought the item.

    A `common` error of `work` concerns all items that it was given together. After any other error each item is tried
    alone, so that no item fails because of another; `work` must have left nothing behind then.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        limit: int,
        common: type[Exception],
    ) -> None:
        self._work = work
        self._limit = limit
        self._common = common
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Outcome:
        """Have one item done. It is done even if the caller goes away meanwhile."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._drain())
        return await future

    async def finish(self) -> None:
        """Wait until all items are done."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _drain(self) -> None:
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
                await self._do(together)
        finally:
            self._worker = None

    async def _do(self, together: Sequence[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._work([item for item, _ in together])
        except Exception as error:  # noqa: BLE001 -- every waiting caller gets it, of any kind
            if len(together) > 1 and not isinstance(error, self._common):
                for alone in together:
                    await self._do([alone])
                return
            for _, future in together:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(together, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
