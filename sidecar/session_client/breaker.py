"""A circuit breaker: when the session service fails for several sessions, calls are held back, and one at a time tries.

It counts an instance's health and not a session's: a session that fails by itself counts once, until it succeeds.
Own code, because the libraries for it bring a clock, a lock or a message bus of their own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

from sidecar.cache.clock import elapsed
from sidecar.model import SessionKey

FAILURES: Final = 5
"""Failures in a row, of different sessions, that open the breaker."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
"""Seconds until the next try: the first time, and at most, after doubling at every failed try."""

_SUSPECTS: Final = 1_024
"""Most sessions that are remembered for having failed."""


class Breaker:
    """Open, half-open and closed in one rule: when open, one call may pass each time the pause is over.

    Sessions that have failed before try in a turn of their own: their failures are no sign of the service's health, and
    must not take the turn of another session. `on_change` is called with True when it opens and False when it closes.
    `clock` gives monotonic seconds.
    """

    def __init__(self, on_change: Callable[[bool], None], clock: Callable[[], float] = elapsed) -> None:
        self._on_change = on_change
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._is_open = False
        self._is_trying = False
        self._next_try = {False: 0.0, True: 0.0}  # of sessions that are suspects, and of all others
        self._suspects: LRUCache[SessionKey, None] = LRUCache(_SUSPECTS)

    @property
    def is_open(self) -> bool:
        return self._is_open

    def hold(self, key: SessionKey) -> int | None:
        """None where the call may be made; otherwise the whole seconds after which it is worth trying again."""
        if not self._is_open:
            return None
        is_suspect = key in self._suspects
        now = self._clock()
        if now < self._next_try[is_suspect]:
            return math.ceil(self._next_try[is_suspect] - now)
        # This call moves the next try on, so that another is made where this one never reports.
        self._next_try[is_suspect] = now + self._jittered()
        self._is_trying = self._is_trying or not is_suspect
        return None

    def succeeded(self, key: SessionKey) -> None:
        self._failures = 0
        self._suspects.pop(key, None)
        if self._is_open:
            self._is_open = self._is_trying = False
            self._pause = FIRST_PAUSE
            self._on_change(False)

    def failed(self, key: SessionKey, *, unreachable: bool = False) -> None:
        """Note a failure. An `unreachable` instance counts every time, for any session."""
        is_suspect = key in self._suspects
        self._suspects[key] = None
        if is_suspect and not unreachable:
            return
        self._failures += 1
        if self._is_open:
            # Calls that were made before it opened may still fail by the hundred; only a try lengthens the pause.
            if self._is_trying:
                self._is_trying = False
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
                self._wait()
        elif self._failures >= FAILURES:
            self._is_open = True
            self._wait()
            self._on_change(True)

    def _wait(self) -> None:
        next_try = self._clock() + self._jittered()
        self._next_try = {False: next_try, True: next_try}

    def _jittered(self) -> float:
        return self._pause * random.uniform(0.75, 1.0)  # noqa: S311 # keeps several sidecars apart, no secret
