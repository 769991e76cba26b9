"""The clock of the cache: monotonic seconds that go on while the machine is suspended.

`time.monotonic` stands still during a suspend on Linux, so an entry of the cache would outlive its time by as much.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final


def _boottime() -> Callable[[], float] | None:
    """CLOCK_BOOTTIME (clock_gettime(2)), or None where the platform or its kernel has none."""
    number = getattr(time, "CLOCK_BOOTTIME", None)
    if number is None:
        return None
    try:
        time.clock_gettime(number)
    except OSError:
        return None
    return partial(time.clock_gettime, number)


elapsed: Final[Callable[[], float]] = _boottime() or time.monotonic
"""Seconds since an arbitrary moment, suspends included where the platform counts them."""
