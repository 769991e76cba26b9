"""The kinds of value that a client may send, each with the one check that keeps it storable in either database.

Postgres has no NUL in text, neither database has lone surrogates, and JSON has no NaN: all are refused here, at the
door, so that no store ever fails half way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from memory_service.model import JsonObject

MAX_DEPTH: Final = 32
MAX_LABEL: Final = 64


def storable(text: str) -> str:
    """The text itself. Raises ValueError where a database could not keep it."""
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold a lone surrogate") from None
    return text


def storable_object(value: JsonObject) -> JsonObject:
    """The object itself, looked through without recursion: how deep it is nested is up to the client."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ValueError(f"must not be nested deeper than {MAX_DEPTH} levels")


def _children(value: object) -> Iterable[object]:
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not hold NaN or Infinity")
    elif isinstance(value, dict):
        return (*value.keys(), *value.values())
    elif isinstance(value, list):
        return value
    return ()


Content = Annotated[str, Field(min_length=1), AfterValidator(storable)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL), AfterValidator(storable)]
Query = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(storable)]
StorableObject = Annotated[JsonObject, AfterValidator(storable_object)]
Importance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
