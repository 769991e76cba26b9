"""Asks the session service again while its answers say nothing of the session and there is time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import stamina

from sidecar.model import Unknown, Verdict

_LONGEST_WAIT: Final = 0.2
_RETRYING: Final = stamina.AsyncRetryingCaller(attempts=3, wait_initial=0.05, wait_jitter=0.05, wait_max=_LONGEST_WAIT)


class _Again(Exception):
    """The answer says nothing of the session, and it may help to ask again. `answer` stands if it does not."""

    def __init__(self, answer: Unknown) -> None:
        super().__init__(answer.why)
        self.answer = answer


async def persist(
    ask: Callable[[], Awaitable[Verdict]], deadline: float, *, is_held_back: Callable[[], bool]
) -> Verdict:
    """Ask, and ask again while the answer is `Unknown`, unless `is_held_back`. `deadline` is in the event loop's time.

    The pause is as long as the service named, or a short one.
    """
    first = await ask()
    if not isinstance(first, Unknown):
        return first
    # Only what has failed once pays for the machinery of retrying; its first attempt is the one just made.
    made = [first]

    async def again() -> Verdict:
        answer = made.pop() if made else await ask()
        if isinstance(answer, Unknown):
            raise _Again(answer)
        return answer

    def pause(failure: Exception) -> bool | float:
        """Say whether to ask again: True for the usual pause, or the seconds that the service itself named."""
        if not isinstance(failure, _Again) or is_held_back():
            return False
        left = deadline - asyncio.get_running_loop().time()
        named = failure.answer.retry_after
        if named is not None:
            return named if named < left else False
        return left > _LONGEST_WAIT

    try:
        return await _RETRYING(pause, again)
    except _Again as failure:
        return failure.answer
