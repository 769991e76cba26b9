"""A reverse proxy that makes sure a session exists, for its owner, before a write reaches the memory service.

The public names are `SessionGuard`, `SessionGuardMiddleware` and `Settings`. Each is imported when it is first used
(PEP 562), so that a part of the program can be imported without the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.session_guard import SessionGuard as SessionGuard
    from sidecar.session_guard_middleware import SessionGuardMiddleware as SessionGuardMiddleware
    from sidecar.settings import Settings as Settings

__all__ = ["SessionGuard", "SessionGuardMiddleware", "Settings"]

_MODULES = {
    "SessionGuard": "sidecar.session_guard",
    "SessionGuardMiddleware": "sidecar.session_guard_middleware",
    "Settings": "sidecar.settings",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name. Raises AttributeError for any other name."""
    if name not in _MODULES:
        raise AttributeError(f"module 'sidecar' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Name the public names too."""
    return sorted({*globals(), *__all__})
