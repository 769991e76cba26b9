"""Ends a background task that works with the database.

A cancellation that arrives together with the answer of a query may be lost in the driver. So a task is asked to end,
by a flag of its own that it looks at between queries, and cancelled only where it does not get that far.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

_PATIENCE: Final = 2.0


async def ended(task: asyncio.Task[Any] | None) -> None:
    """Wait for a task that was asked to end; cancel it if it is stuck. Takes a few seconds at most."""
    if task is None or task.done():
        return
    done, _ = await asyncio.wait([task], timeout=_PATIENCE)
    if not done:
        task.cancel()
        await asyncio.wait([task], timeout=_PATIENCE)
