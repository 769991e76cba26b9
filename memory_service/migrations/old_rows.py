"""One row of the old `session_memories` as a memory, or the reason why it cannot be one. Pure: no I/O.

Of that table only `session_id` and `user_id` are certain. Columns with a familiar name become the field they mean; all
others, and values that cannot be read, are kept in the metadata, under the name of the table that they come from.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from memory_service.fields import storable_object
from memory_service.search import search_terms
from service_kit.ids import unsafe_because
from service_kit.sql.old_values import Unreadable, read_json, read_time

OLD_TABLE: Final = "session_memories"
CERTAIN: Final = ("session_id", "user_id")
READ: Final = ("metadata", "created_at", "updated_at")
"""The columns whose values may turn out to be unreadable."""
MAX_ID: Final = 36

_WITHOUT_ID: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "session-memories.session-sidecar")
_CONTENT: Final = ("message_content", "content", "message", "text", "conversation_summary", "summary")
_ACTIVE: Final = ("is_active", "active")

Row = Mapping[str, Any]


class NotText(str):  # noqa: SLOT000 -- a mark on a text, of which there are few
    """Text of a row that is not UTF-8, with its bytes written as escapes."""


def why_not(old: Row) -> str | None:
    """Why the row cannot become a memory; None where it can."""
    for name, value in old.items():
        if isinstance(value, NotText):
            return f"{name} is not UTF-8"
    for name in CERTAIN:
        if old[name] is None:
            return f"{name} is missing"
        if why := unsafe_because(str(old[name])):
            return f"{name} {why}"
    return None


def memory_id(old: Row, number: int) -> str:
    """The id of the memory: that of the row, or where it has none, or one that is too long, one made from the row.

    `number` is the row's place in the table; the same row at the same place always gets the same id.
    """
    old_id = old.get("id")
    text = "" if old_id is None else str(old_id)
    if 1 <= len(text) <= MAX_ID:
        return text
    return str(uuid.uuid5(_WITHOUT_ID, text or json.dumps([number, old], default=str)))


def as_memory(old: Row, now: dt.datetime, number: int = 0) -> dict[str, Any]:
    """The row of `memories` that the old row becomes; `now` stands in for a time that it does not tell."""
    new_id = memory_id(old, number)
    rest = {name: value for name, value in old.items() if name not in CERTAIN and value is not None}
    if str(rest.get("id")) == new_id:
        del rest["id"]
    content = _take(rest, _CONTENT, _is_text) or ""
    created_at = _taken_time(rest, "created_at") or now
    updated_at = _taken_time(rest, "updated_at") or created_at
    metadata = _taken_object(rest, "metadata")
    memory: dict[str, Any] = {
        "id": new_id,
        "memory_type": "session",
        "user_id": str(old["user_id"]),
        "session_id": str(old["session_id"]),
        "content": content,
        "search_terms": search_terms(content),
        "message_type": _take(rest, ("message_type",), _is_text) or "human",
        "role": _take(rest, ("role",), _is_text) or "user",
        "importance_score": float(_or(_take(rest, ("importance_score",), _is_score), 0.5)),
        "context": {},
        "active": bool(_or(_take(rest, _ACTIVE, _is_flag), True)),
        "expires_at": None,
        "created_at": created_at,
        "updated_at": updated_at,
    }
    kept = {name: plain(value) for name, value in rest.items()}
    return {**memory, "metadata": {**metadata, OLD_TABLE: kept} if kept else metadata}


def unread(memory: Mapping[str, Any]) -> list[str]:
    """The columns whose values were not understood, and are kept in the metadata as they were."""
    return [name for name in READ if name in memory["metadata"].get(OLD_TABLE, {})]


def plain(value: Any) -> Any:
    """The value as any database keeps it in JSON: bytes in hex, numbers without end and foul text in their spelling."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        return storable_object({"": value})[""]
    except ValueError:
        return json.dumps(value)


def _take(rest: dict[str, Any], names: Iterable[str], fits: Any) -> Any:
    """The first value that fits; it leaves the rest. None where nothing does."""
    for name in names:
        if name in rest and fits(rest[name]):
            return rest.pop(name)
    return None


def _taken_time(rest: dict[str, Any], name: str) -> dt.datetime | None:
    with suppress(Unreadable):
        time = old_time(rest.get(name))
        rest.pop(name, None)
        return time
    return None


def old_time(value: object) -> dt.datetime | None:
    """The time that a column tells, in UTC; None where it tells none. Raises Unreadable."""
    if value is None:
        return None
    if isinstance(value, str | int | float):
        return read_time(str(value))
    raise Unreadable("no time")


def _taken_object(rest: dict[str, Any], name: str) -> dict[str, Any]:
    """The object that a column holds, as one or as its text. It leaves the rest; an empty one where it holds none."""
    found = rest.get(name)
    with suppress(ValueError):
        value = read_json(found) if isinstance(found, str) else found
        if isinstance(value, dict):
            storable_object(value)
            del rest[name]
            return value
    return {}


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_flag(value: object) -> bool:
    return isinstance(value, int) and value in {0, 1}
