"""A circuit breaker: after several failures in a row calls are held back, and one at a time tries again.

Own code because the libraries there are carry a clock, a lock or a message bus of their own; this is three numbers.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Final

FAILURES: Final = 5
"""Failures in a row that open the breaker."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
"""Seconds until the next try: the first time, and at most, after doubling at every failed try."""


class Breaker:
    """Open, half-open and closed in one rule: when open, one call may pass each time the pause is over.

    `on_change` is told with True when it opens and False when it closes. `clock` gives monotonic seconds.
    """

    def __init__(self, on_change: Callable[[bool], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._on_change = on_change
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._next_try: float | None = None
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """Whether calls are held back."""
        return self._next_try is not None

    def hold(self) -> int | None:
        """None where the call may be made; otherwise the whole seconds after which it is worth trying again."""
        if self._next_try is None:
            return None
        now = self._clock()
        if now < self._next_try:
            return math.ceil(self._next_try - now)
        # The one that tries moves the next try on: should it never report, another will.
        self._next_try = now + self._jittered()
        self._is_trying = True
        return None

    def succeeded(self) -> None:
        """Note that the service answered."""
        self._failures = 0
        if self._next_try is not None:
            self._next_try = None
            self._is_trying = False
            self._pause = FIRST_PAUSE
            self._on_change(False)

    def failed(self) -> None:
        """Note that it did not."""
        self._failures += 1
        if self._next_try is not None:
            # Calls that were made before it opened may still fail by the hundred; they say nothing new.
            if self._is_trying:
                self._is_trying = False
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
                self._next_try = self._clock() + self._jittered()
        elif self._failures >= FAILURES:
            self._next_try = self._clock() + self._jittered()
            self._on_change(True)

    def _jittered(self) -> float:
        return self._pause * random.uniform(0.75, 1.0)  # noqa: S311 # keeps several sidecars apart, no secret
