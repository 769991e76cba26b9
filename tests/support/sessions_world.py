"""A session service that really holds sessions, behind a network that delivers questions and answers when told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx
import orjson

from sidecar.guard.permit import Permit
from sidecar.model import Reference, Refusals, SessionStatus
from sidecar.testing import FakeClock
from tests.support.sessions import error, session, target


@dataclass
class Truth:
    """A session as it really is, and since when."""

    owner: str
    status: SessionStatus = SessionStatus.ACTIVE
    since: float = 0.0


@dataclass
class Question:
    """A request on its way to the session service and back."""

    request: httpx.Request
    arrive: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    failure: httpx.Response | Exception | None = None
    worked: bool = False


@dataclass
class Write:
    """A reading that is being decided. `there` are the sessions, each with its owner, that existed when it came."""

    references: tuple[Reference, ...]
    task: asyncio.Task[Permit | Refusals]
    there: frozenset[tuple[str, str]]


class World(httpx.AsyncBaseTransport):
    """The session service, and a network that delivers when told. With `hides`, a look finds a user's own sessions."""

    hides = False

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.sessions: dict[str, Truth] = {}
        self.created: list[Reference] = []
        self.events: list[tuple[str, str]] = []
        self.questions: list[Question] = []
        self.immediate = False
        self.up = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        question = Question(request)
        if self.immediate:
            return self._answer(request) if self.up else httpx.Response(503)
        self.questions.append(question)
        try:
            await question.arrive.wait()
            answer = self._answer(request) if question.failure is None or question.worked else None
            await question.leave.wait()
        finally:
            self.questions.remove(question)
        if isinstance(question.failure, Exception):
            raise question.failure
        if question.failure is not None:
            return question.failure
        assert answer is not None
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        session_id = target(request).removeprefix("/api/v1/sessions/").partition("?")[0]
        truth = self.sessions.get(session_id)
        code = 200
        if request.method == "PUT":
            user = orjson.loads(request.content)["user_id"]
            if truth is None:
                truth = self.sessions[session_id] = Truth(user, since=self.clock.now)
                self.created.append(Reference(session_id, user))
                code = 201
            conflict = 409
        else:
            user = target(request).partition("?user_id=")[2]
            conflict = 403
        if truth is None:
            return error(404, "session_not_found")
        if truth.status is SessionStatus.DELETED:
            return error(410, "session_gone")
        if truth.owner != user and self.hides and request.method != "PUT":
            return error(404, "session_not_found")
        if truth.owner != user:
            return error(conflict, "session_owned_by_another_user")
        return session(code, session_id=session_id, user_id=truth.owner, status=truth.status.value)

    def there(self) -> frozenset[tuple[str, str]]:
        """The sessions that exist, each with its owner."""
        existing = {key: truth for key, truth in self.sessions.items() if truth.status is not SessionStatus.DELETED}
        return frozenset((session_id, truth.owner) for session_id, truth in existing.items())

    def change(self, session_id: str, status: SessionStatus) -> None:
        truth = self.sessions[session_id]
        truth.status, truth.since = status, self.clock.now
        self.events.append((session_id, status.value))
