"""The bodies of requests and responses, as OpenAPI shows them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import to_json

from service_kit.ids import Id
from session_service.model import Status

MOST_AT_ONCE = 1_000


def is_writable(value: Any) -> bool:
    """Whether an answer can show the value so that every reader understands it.

    Python reads JSON that others refuse: NaN, numbers beyond a double, lone surrogates. Nor can pydantic write what is
    nested deeper than it goes.
    """
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        to_json([[value]])  # as deep as it stands in a page of sessions
    except (ValueError, RecursionError):
        return False
    return True


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    if not is_writable(value):
        raise ValueError("not a JSON value that every reader understands")
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_storable)]


PairOutcome = Literal["created", "found", "conflict", "gone", "invalid"]


class _Sent(BaseModel):
    """What clients send: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class SessionData(_Sent):
    """What clients may keep with a session; the service does not look into it."""

    conversation_data: JsonObject | None = None
    metadata: JsonObject | None = None


class EnsureSession(SessionData):
    """Body of `PUT`: whose session it shall be, and what it starts with if it has to be created."""

    user_id: Id


class NewSession(EnsureSession):
    """Body of `POST`: as for `PUT`, with an id or without."""

    session_id: Id | None = None


class SessionOut(BaseModel):
    """A session."""

    model_config = ConfigDict(from_attributes=True)

    session_id: str
    user_id: str
    status: Status
    conversation_data: Any
    metadata: Any
    created_at: AwareDatetime
    updated_at: AwareDatetime


class PageOut(BaseModel):
    """Sessions, newest first. `next_cursor` asks for those that follow; it is null on the last page."""

    sessions: list[SessionOut]
    next_cursor: str | None


class Pair(_Sent):
    """One session to ensure. Values of any kind are read, so that one bad pair spoils no other."""

    session_id: Any = None
    user_id: Any = None


class EnsureMany(_Sent):
    """Body of `sessions:ensure`."""

    sessions: Annotated[list[Pair], Field(max_length=MOST_AT_ONCE)]


class PairResult(BaseModel):
    """What came of one pair; `session_id` is what was sent, null for what is no JSON that every reader understands."""

    session_id: Any
    result: PairOutcome


class EnsureManyOut(BaseModel):
    """What came of each pair, in the same order."""

    results: list[PairResult]
