"""One row of the old `session_memories` as a memory, or the reason why it cannot be one. Pure: no I/O.

Of that table only `id`, `session_id` and `user_id` are certain. Columns with a familiar name become the field they
mean; all others are kept in the metadata, under the name of the table that they come from.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

from memory_service.search import search_terms
from service_kit.ids import is_uuid, unsafe_because

OLD_TABLE: Final = "session_memories"
CERTAIN: Final = ("id", "session_id", "user_id")

_CONTENT: Final = ("message_content", "content", "message", "text", "conversation_summary", "summary")
_ACTIVE: Final = ("is_active", "active")

Row = Mapping[str, Any]


def why_not(old: Row) -> str | None:
    """Why the row cannot become a memory; None where it can."""
    if not isinstance(old["id"], str) or not is_uuid(old["id"]):
        return "id is no UUID"
    for name in ("session_id", "user_id"):
        if old[name] is None:
            return f"{name} is missing"
        if why := unsafe_because(str(old[name])):
            return f"{name} {why}"
    return None


def as_memory(old: Row, now: dt.datetime) -> dict[str, Any]:
    """The row of `memories` that the old row becomes; `now` stands in for a time that it does not tell."""
    rest = {name: value for name, value in old.items() if name not in CERTAIN and value is not None}
    content = _take(rest, _CONTENT, _is_text) or ""
    created_at = _taken_time(rest, "created_at") or now
    metadata = _take(rest, ("metadata",), lambda value: isinstance(value, dict)) or {}
    return {
        "id": old["id"],
        "memory_type": "session",
        "user_id": str(old["user_id"]),
        "session_id": old["session_id"],
        "content": content,
        "search_terms": search_terms(content),
        "message_type": _take(rest, ("message_type",), _is_text) or "human",
        "role": _take(rest, ("role",), _is_text) or "user",
        "importance_score": float(_or(_take(rest, ("importance_score",), _is_score), 0.5)),
        "context": {},
        "active": bool(_or(_take(rest, _ACTIVE, _is_flag), True)),
        "expires_at": None,
        "created_at": created_at,
        "updated_at": _taken_time(rest, "updated_at") or created_at,
        "metadata": {**metadata, OLD_TABLE: rest} if rest else metadata,
    }


def _take(rest: dict[str, Any], names: Iterable[str], fits: Any) -> Any:
    """The first value that fits; it leaves the rest. None where nothing does."""
    for name in names:
        if name in rest and fits(rest[name]):
            return rest.pop(name)
    return None


def _taken_time(rest: dict[str, Any], name: str) -> dt.datetime | None:
    try:
        time = dt.datetime.fromisoformat(rest[name])
    except (KeyError, TypeError, ValueError):
        return None
    del rest[name]
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_flag(value: object) -> bool:
    return isinstance(value, int) and value in {0, 1}
