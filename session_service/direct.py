"""The two calls that every sidecar makes, `PUT` and `GET` of one session, served without the web framework's machinery.

It changes speed and nothing else. What is not plainly one of them, and good in all its parts, is the framework's, which
then sees it as it came.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.ids import unsafe_because
from service_kit.sql.database import DatabaseUnavailable
from service_kit.web.problems import RETRY_AFTER, ProblemResponse, Refused, unavailable
from session_service.api import SESSION, SESSIONS, ensured, looked_up
from session_service.model import Session
from session_service.schemas import EnsureSession, SessionOut
from session_service.service import Sessions
from session_service.strict_input import read_json

MOST_BODY: Final = 64 * 1024
"""Declared bytes of a body that is read here."""

_PREFIX: Final = f"{SESSIONS}/"
_OWNER: Final = re.compile(rb"user_id=([^&]*)").fullmatch
_LENGTH: Final = re.compile(rb"[0-9]{1,9}").fullmatch
"""Python converts no number of thousands of digits, and leading zeros are digits too."""
_SESSION_OUT: Final = TypeAdapter(SessionOut)
_JSON: Final = b"application/json"
_FRAMING: Final = (b"content-length", b"transfer-encoding")
"""The fields by which a request has a body (RFC 9112, section 6.3)."""


@dataclass(frozen=True, slots=True)
class _Route:
    """What telemetry asks of a route."""

    path: str


_ROUTE: Final = _Route(SESSION)


class DirectCalls:
    """Middleware inside all other, around the framework's router."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or leave it to the framework."""
        path = scope["path"] if scope["type"] == "http" else ""
        session_id = path[len(_PREFIX) :]
        if not path.startswith(_PREFIX) or unsafe_because(session_id) is not None:
            await self._app(scope, receive, send)
        elif scope["method"] == "GET":
            await self._get(session_id, scope, receive, send)
        elif scope["method"] == "PUT":
            await self._put(session_id, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _get(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        if _has_body(scope["headers"]):
            await self._app(scope, receive, send)
            return
        user_id = None
        if query := scope["query_string"]:
            owner = _OWNER(query)
            user_id = unquote_plus(owner[1].decode("latin-1")) if owner is not None else ""
            if unsafe_because(user_id) is not None:
                await self._app(scope, receive, send)
                return
        await _respond(self._looked_up(session_id, user_id), scope, receive, send)

    async def _looked_up(self, session_id: str, user_id: str | None) -> tuple[int, Session]:
        return 200, looked_up(session_id, await self._sessions.look(session_id, user_id))

    async def _put(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"] or not _is_plain(scope["headers"]):
            await self._app(scope, receive, send)
            return
        messages = await _received(receive)
        wanted = _read(messages)
        if wanted is None:
            await self._app(scope, _replaying(messages, receive), send)
            return
        await _respond(ensured(self._sessions, session_id, wanted), scope, receive, send)


async def _respond(work: Awaitable[tuple[int, Session]], scope: Scope, receive: Receive, send: Send) -> None:
    """Send what the work gives, a status and a session, or the problem that it raises."""
    scope["route"] = _ROUTE
    response: Response
    try:
        response = _answer(*await work)
    except Refused as refused:
        response = ProblemResponse(refused)
    except DatabaseUnavailable:
        response = ProblemResponse(unavailable(), RETRY_AFTER)
    await response(scope, receive, send)


def _answer(status: int, session: Session) -> Response:
    content = _SESSION_OUT.dump_json(_SESSION_OUT.validate_python(session, from_attributes=True))
    return Response(content, status, media_type="application/json")


def _has_body(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name in _FRAMING for name, _ in headers)


def _is_plain(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the body is JSON, and of a declared length that need not be watched."""
    content_types = [value for name, value in headers if name == b"content-type"]
    lengths = [value for name, value in headers if name == b"content-length"]
    return content_types == [_JSON] and len(lengths) == 1 and _is_small(lengths[0])


def _is_small(length: bytes) -> bool:
    return _LENGTH(length) is not None and int(length) <= MOST_BODY


async def _received(receive: Receive) -> list[Message]:
    """The messages that bring a body, or the end of the connection."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _read(messages: Sequence[Message]) -> EnsureSession | None:
    """What a body asks for; None where anything is wrong with it."""
    if messages[-1]["type"] != "http.request":
        return None
    try:
        content = read_json(b"".join([message.get("body", b"") for message in messages]))
        return EnsureSession.model_validate(content)
    except (ValueError, ValidationError, RecursionError):
        return None


def _replaying(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives these messages first."""
    left = messages[::-1]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed
