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
        self._withheld: dict[str, int] = {}

    def admits(self, kind: str) -> bool:
        """Whether one more line of this kind may be written now."""
        now = self._clock()
        self._end_windows(now)
        began, count = self._windows.get(kind, (now, 0))
        self._windows[kind] = began, count + 1
        return count < MOST_IN_A_SECOND

    def withheld(self) -> dict[str, int]:
        """Give, and forget, how many lines of each kind were withheld in windows that are over."""
        self._end_windows(self._clock())
        withheld, self._withheld = self._withheld, {}
        return withheld

    def _end_windows(self, now: float) -> None:
        """Close the windows that are over, and keep what they withheld."""
        for kind in [kind for kind, (began, _) in self._windows.items() if now - began >= 1.0]:
            _, count = self._windows.pop(kind)
            if count > MOST_IN_A_SECOND:
                self._withheld[kind] = self._withheld.get(kind, 0) + count - MOST_IN_A_SECOND
