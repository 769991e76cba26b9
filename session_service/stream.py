"""The event stream over HTTP, as Server-Sent Events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from service_kit.process.serving import ENDLESS
from service_kit.sql.database import DatabaseUnavailable
from session_service.feed import Feed, Heartbeat, Reset, Told
from session_service.model import Event

_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_CONTENT: Final[dict[str, Any]] = {"text/event-stream": {"schema": {"type": "string"}}}
_NO_NUMBER: Final = -1
_LARGEST: Final = 2**63 - 1

router: Final = APIRouter(tags=["events"])


async def followed(request: Request) -> Feed:
    """The feed of the application."""
    return cast("Feed", request.app.state.feed)


@router.get("/api/v1/session-events", response_class=StreamingResponse, responses={200: {"content": _CONTENT}})
async def session_events(
    request: Request,
    feed: Annotated[Feed, Depends(followed)],
    after: Annotated[int | None, Query(ge=0, le=_LARGEST)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Follow sessions being `created`, `ended` and `deleted`.

    The stream starts at the present, or after the number in `Last-Event-ID` or else `after`, where 0 is the
    beginning. A `reset` event says that this past is not kept: forget what you know. A comment comes as soon as
    everything that had happened was told, and every few seconds while nothing happens.
    """
    request.scope[ENDLESS] = True
    present = await feed.present()
    asked = _number(last_event_id) if last_event_id else after
    following = _encoded(feed.follow(present if asked is None else asked))
    return StreamingResponse(following, media_type="text/event-stream", headers=_HEADERS)


def _number(last_event_id: str) -> int:
    """A number that was never given stands for an id that is none: both ask for a past that is not kept."""
    readable = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18
    return int(last_event_id) if readable else _NO_NUMBER


async def _encoded(told: AsyncIterator[Sequence[Told]]) -> AsyncIterator[bytes]:
    """The stream ends where the database is lost: an honest end is noticed sooner than silence."""
    try:
        async for some in told:
            yield b"".join(map(_encode, some))
    except DatabaseUnavailable:
        return


def _encode(told: Told) -> bytes:
    match told:
        case Heartbeat():
            return b": heartbeat\n\n"
        case Reset(number):
            return _event("reset", number, {"at": _rfc3339(dt.datetime.now(dt.UTC))})
        case Event():
            return _encode_event(told)


@functools.lru_cache(maxsize=1_000)
def _encode_event(told: Event) -> bytes:
    """All followers of a process get the same bytes, most of them at the same time."""
    data = {"session_id": told.session_id, "user_id": told.user_id, "at": _rfc3339(told.at)}
    return _event(told.change, told.number, data)


def _event(name: str, number: int, data: dict[str, str]) -> bytes:
    return f"event: {name}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode()


def _rfc3339(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
