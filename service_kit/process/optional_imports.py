"""Keeps a library from importing optional dependencies only because they are installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def not_found(*modules: str) -> Iterator[None]:
    """Have each import of `modules` raise ModuleNotFoundError until the block ends; what is imported already stays.

    The import system reads None in `sys.modules` so (Python Language Reference, section 5.3.1).
    """
    absent = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None is what blocks an import
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
