"""Finds the ASGI application that `MODULE:APP` names, as uvicorn does."""

from __future__ import annotations

import sys
from typing import cast

from starlette.types import ASGIApp
from uvicorn.importer import ImportFromStringError, import_from_string


class NoApplication(Exception):
    """The name leads to no application; the message says which part of it does not."""


def load_application(name: str) -> ASGIApp:
    """Import an application; the working directory comes first on the path.

    Raises NoApplication. What else the module raises while it is imported is raised as it is.
    """
    sys.path.insert(0, "")
    try:
        found = import_from_string(name)
    except (ImportFromStringError, ImportError) as error:
        raise NoApplication(f"{name}: {error}") from error
    if not callable(found):
        raise NoApplication(f"{name} is a {type(found).__name__}; an ASGI application is allowed")
    return cast("ASGIApp", found)
