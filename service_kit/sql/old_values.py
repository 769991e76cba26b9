"""Values of old tables as the services keep them. Pure: no I/O.

JSON may be text, text within JSON, or neither; times may be ISO 8601, RFC 5322, a few common spellings or a number of
seconds, milliseconds, microseconds or nanoseconds since 1970. A value that cannot be read is an error of its own.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import math
from contextlib import suppress
from typing import Any, Final

_SPELLINGS: Final = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M")
# A number beyond each bound is read in the next smaller unit: seconds end in the year 5138.
_UNITS: Final = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (math.inf, 1e9))
_EARLIEST: Final = dt.datetime(1, 1, 2, tzinfo=dt.UTC)
_LATEST: Final = dt.datetime(9999, 12, 30, tzinfo=dt.UTC)


class Unreadable(ValueError):
    """The value is not what its column is for."""


def read_json(raw: str | bytes) -> Any:
    """The JSON value of a column, never None. Raises Unreadable.

    JSON within a JSON string is taken out of it. What JSON readers disagree on (NaN, lone surrogates, numbers beyond a
    double) is unreadable, as over HTTP.
    """
    value = _loaded(_text(raw))
    if isinstance(value, str):
        with suppress(Unreadable):
            inner = _loaded(value)
            value = inner if isinstance(inner, dict | list) else value
    return {} if value is None else value


def read_time(raw: str | bytes) -> dt.datetime:
    """The time in UTC; one without a zone is UTC. Raises Unreadable."""
    text = _text(raw).strip()
    time = _number(text) or _iso(text) or _spelled(text)
    if time is None:
        raise Unreadable(text)
    with suppress(OverflowError):
        time = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
        if _EARLIEST <= time <= _LATEST:
            return time
    raise Unreadable(text)


def _text(raw: str | bytes) -> str:
    try:
        return raw if isinstance(raw, str) else raw.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("not UTF-8") from error


def _loaded(text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error
    return value


def _number(text: str) -> dt.datetime | None:
    digits = text.removeprefix("-").replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or len(digits) == 8:  # eight digits are a date
        return None
    number = float(text)
    unit = next(unit for bound, unit in _UNITS if abs(number) < bound)
    with suppress(OverflowError, ValueError, OSError):
        return dt.datetime.fromtimestamp(number / unit, dt.UTC)
    return None


def _iso(text: str) -> dt.datetime | None:
    with suppress(ValueError):
        return dt.datetime.fromisoformat(text)
    return None


def _spelled(text: str) -> dt.datetime | None:
    for spelling in _SPELLINGS:
        with suppress(ValueError):
            return dt.datetime.strptime(text, spelling)  # noqa: DTZ007 -- a time without a zone is read as UTC
    with suppress(ValueError, TypeError, IndexError):
        return email.utils.parsedate_to_datetime(text)
    return None
