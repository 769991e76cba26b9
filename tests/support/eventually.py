"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

DEADLINE = 30.0


async def eventually(condition: Callable[[], Any], *, within: float = DEADLINE) -> Any:
    """Poll until the condition (a function, perhaps async) is true and return its value; fail after `within` seconds.

    Blocking conditions run in a thread, so that they cannot hold up what they wait for.
    """
    async with asyncio.timeout(within):
        while True:
            found = await (condition() if inspect.iscoroutinefunction(condition) else asyncio.to_thread(condition))
            if found:
                return found
            await asyncio.sleep(0.01)
