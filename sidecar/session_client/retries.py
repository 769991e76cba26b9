"""Asks the session service again while its answers say nothing of the session and there is time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.guard.verdicts import Unknown, Verdict

_PAUSES: Final = (0.05, 0.1)
"""Seconds before each time that it is asked again."""

_JITTER: Final = 0.05
"""Seconds that a pause may be longer, so that calls that failed together are not repeated together."""

_LEAST_LEFT: Final = 0.2
"""With no more seconds left than these, a pause and a call do not fit."""


async def persist(
    ask: Callable[[], Awaitable[Verdict]], deadline: float, *, is_held_back: Callable[[], bool]
) -> Verdict:
    """Ask, and ask again while the answer is `Unknown`, unless `is_held_back`. `deadline` is in the event loop's time.

    The pause is as long as the service named, or a short one.
    """
    for pause in _PAUSES:
        answer = await ask()
        if not isinstance(answer, Unknown) or is_held_back():
            return answer
        named = answer.retry_after
        needed = _LEAST_LEFT if named is None else named
        if deadline - asyncio.get_running_loop().time() <= needed:
            return answer
        await asyncio.sleep(pause + random.uniform(0, _JITTER) if named is None else named)  # noqa: S311 # no secret
    return await ask()
