"""The signals that ask a process to stop in order.

A second SIGINT or SIGTERM ends it at once. A second SIGHUP does not: where a terminal is closed, the
shell and the kernel both send one.
"""

from __future__ import annotations

import signal
from typing import Final

STOPS: Final = (signal.SIGINT, signal.SIGTERM)


def hangups() -> tuple[signal.Signals, ...]:
    """Give SIGHUP, or nothing where it is ignored, as under nohup(1)."""
    return () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
