"""Bounds the log: of lines of one kind only the first few in a second are written, the others counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MOST_IN_A_SECOND: Final = 10


class FloodLimit:
    """Says which lines are written. `clock` gives seconds.

    Kinds are never forgotten, so there must be few: reasons and decisions, not ids.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def admits(self, kind: str) -> bool:
        """Whether one more line of this kind may be written now."""
        now = self._clock()
        began, count = self._windows.get(kind, (now, 0))
        if now - began >= 1.0:
            began, count = now, 0
        self._windows[kind] = began, count + 1
        return count < MOST_IN_A_SECOND

    def withheld(self) -> dict[str, int]:
        """Give, and forget, how many lines of each kind were withheld in windows that are over."""
        now = self._clock()
        over = {kind: count for kind, (began, count) in self._windows.items() if now - began >= 1.0}
        for kind in over:
            del self._windows[kind]
        return {kind: count - MOST_IN_A_SECOND for kind, count in over.items() if count > MOST_IN_A_SECOND}
