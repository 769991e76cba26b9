"""Sizes, durations and booleans as people write them in settings (`10MiB`, `500ms`, `true`), as types of fields."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import PlainSerializer

from service_kit.settings import read_by

_SIZE_UNITS: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE: Final = re.compile(r"(\d{1,15})\s?(\w*)", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s?(\w*)", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes named by `4096`, `64KiB` or `10 MiB`. Raises ValueError with what is allowed."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError("a size in bytes is allowed, or a whole number followed by KiB, MiB or GiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_duration(text: str) -> float:
    """Seconds named by `5`, `0.5`, `500ms`, `5s` or `2m`. Raises ValueError with what is allowed."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or match[2] not in _DURATION_UNITS:
        raise ValueError("a number of seconds is allowed, or a number followed by ms, s, m or h")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_boolean(text: str) -> bool:
    """`true` or `false`, nothing else. Raises ValueError with what is allowed."""
    if text not in {"true", "false"}:
        raise ValueError("true or false is allowed")
    return text == "true"


def write_size(size: int) -> str:
    """A size as `parse_size` reads it, in the largest unit that loses nothing."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return str(size)


def write_duration(seconds: float) -> str:
    """A duration as `parse_duration` reads it."""
    return f"{seconds:g}s"


Duration = Annotated[float, read_by(parse_duration), PlainSerializer(write_duration)]
"""Seconds."""

Size = Annotated[int, read_by(parse_size), PlainSerializer(write_size)]
"""Bytes."""

Switch = Annotated[bool, read_by(parse_boolean)]
