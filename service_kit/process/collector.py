"""Sets the garbage collector of a server: it runs seldom, and passes over objects that live until the end."""

from __future__ import annotations

import gc
from typing import Final

_YOUNG_OBJECTS: Final = 20_000
"""So many may come to live before cycles are looked for among them, in place of Python's 700: what is imported stays,
and objects of requests in flight go by themselves."""


def collect_seldom() -> None:
    """Look for cycles less often than Python does."""
    gc.set_threshold(_YOUNG_OBJECTS)


def leave_out_what_lives() -> None:
    """Never look again at what lives now: in a server that has started, it lives until the end."""
    gc.collect()
    gc.freeze()
