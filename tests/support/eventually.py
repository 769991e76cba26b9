"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

DEADLINE = 30.0


async def eventually(condition: Callable[[], Any], *, within: float = DEADLINE) -> Any:
    """Poll until the condition (a function, perhaps async) is true, and return its value; fail after `within` s."""
    async with asyncio.timeout(within):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


async def eventually_in_thread(condition: Callable[[], Any], *, within: float = DEADLINE) -> Any:
    """The same for a condition that blocks, and would hold up what it waits for."""
    return await eventually(lambda: asyncio.to_thread(condition), within=within)
