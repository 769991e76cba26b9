"""Logging is the process's: a test that sets it up puts it back."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Restore what `configure_logging` changes."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook
    shown = warnings.showwarning
    yield
    root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook = before
    logging.captureWarnings(capture=False)
    warnings.showwarning = shown
    structlog.reset_defaults()
