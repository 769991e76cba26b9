"""A fake for every port that stands before a network, a disk or a clock: in memory, obedient, and telling all.

They are shipped for tests of this program and of what is built on it, and pass the tests of the adapters they stand
for.
"""

# ruff: noqa: ARG002 # a fake takes what its port takes, whether it uses it or not

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.types import Receive, Scope, Send

from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.ports import DebtNotWritten
from sidecar.http.ports import PermitLapsed, UpstreamError
from sidecar.model import (
    Absent,
    Allow,
    Conflict,
    Created,
    Found,
    Gone,
    Grounds,
    Owed,
    Reason,
    Reference,
    Session,
    SessionKey,
    SessionStatus,
    Unknown,
    Verdict,
)

Before: TypeAlias = Callable[[str, Reference], Awaitable[Verdict | None]]
"""Runs before a fake session service answers: may wait, and may answer in its place."""


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Give the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass
class FakeSessionService:
    """The `SessionService` port over a dict. `asked` holds every question as (operation, reference).

    While `down` is set, every answer is `Unknown`; without `creates`, what is missing stays so. `before` runs ahead of
    every answer and may give another.
    """

    sessions: dict[SessionKey, Session] = field(default_factory=dict)
    asked: list[tuple[str, Reference]] = field(default_factory=list)
    down: bool = False
    creates: bool = True
    before: Before | None = None

    async def look(self, reference: Reference) -> Verdict:
        """Say what there is."""
        return await self._interfere("look", reference) or self._look(reference)

    async def ensure(self, reference: Reference) -> Verdict:
        """Create what is missing."""
        answer = await self._interfere("ensure", reference) or self._look(reference)
        if isinstance(answer, Absent) and self.creates:
            session = self.sessions[reference.key] = Session(reference.user_id, SessionStatus.ACTIVE)
            return Created(session)
        return answer

    async def create(self, reference: Reference) -> Verdict:
        """Create without a look."""
        answer = await self._interfere("create", reference) or self._look(reference)
        if isinstance(answer, Absent):
            session = self.sessions[reference.key] = Session(reference.user_id, SessionStatus.ACTIVE)
            return Created(session)
        return answer

    def add(self, key: SessionKey, owner: str | None, status: SessionStatus = SessionStatus.ACTIVE) -> None:
        """Put a session there."""
        self.sessions[key] = Session(owner, status)

    async def _interfere(self, operation: str, reference: Reference) -> Verdict | None:
        self.asked.append((operation, reference))
        if self.down:
            return Unknown("the fake is down")
        return None if self.before is None else await self.before(operation, reference)

    def _look(self, reference: Reference) -> Verdict:
        session = self.sessions.get(reference.key)
        if session is None:
            return Absent()
        if session.status is SessionStatus.DELETED:
            return Gone()
        return Found(session) if session.owner == reference.user_id else Conflict()


class FakeKnownSessions:
    """The `KnownSessions` port over a dict that never expires. With `drops`, events overtake all that it is told."""

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, Session] = {}
        self.drops = False

    def admits(self, key: SessionKey, user_id: str | None) -> bool:
        """Whether the session is there, for this user, and not deleted."""
        session = self.sessions.get(key)
        return session is not None and session.owner == user_id and session.status is not SessionStatus.DELETED

    def get(self, key: SessionKey) -> Session | None:
        """Give what is there."""
        return self.sessions.get(key)

    def bury(self, key: SessionKey) -> None:
        """Put a tombstone there."""
        self.sessions[key] = Session(None, SessionStatus.DELETED)

    def forget(self, key: SessionKey) -> None:
        """Forget it."""
        self.sessions.pop(key, None)

    def recall(self, key: SessionKey) -> Session | None:
        """Give what is there: nothing grows old here."""
        return self.sessions.get(key)

    def ticket(self) -> int:
        """All tickets are alike."""
        return 0

    def remember(self, key: SessionKey, session: Session, ticket: int) -> bool:
        """Keep it, unless told not to."""
        if not self.drops:
            self.sessions[key] = session
        return not self.drops

    def overtaken(self, key: SessionKey, ticket: int) -> bool:
        """Whether it was told to drop what it is told."""
        return self.drops


@dataclass
class FakeDebts:
    """The `Debts` port over a dict. `broken` makes it fail like a full disk; `settled` tells how debts ended."""

    owed: dict[SessionKey, Reference] = field(default_factory=dict)
    aside: dict[SessionKey, str] = field(default_factory=dict)
    settled: list[tuple[Reference, Verdict]] = field(default_factory=list)
    broken: bool = False

    async def owe(self, reference: Reference) -> Owed | Conflict | Gone:
        """Write it down, for the user who came first, unless it is known that it cannot be paid."""
        self._check()
        for debt, answer in self.settled:
            if debt.key == reference.key and isinstance(answer, Gone):
                return answer
            if debt == reference and isinstance(answer, Conflict):
                return answer
        owner = self.owed.setdefault(reference.key, reference).user_id
        return Owed(owner, reference.key in self.aside)

    def claimant(self, key: SessionKey) -> Owed | Unknown | None:
        """Say whose it is."""
        reference = self.owed.get(key)
        return None if reference is None else Owed(reference.user_id, key in self.aside)

    def any_owed(self) -> bool:
        """Whether anything is owed and not set aside."""
        return len(self.owed) > len(self.aside)

    async def due(self, limit: int, *, set_aside: bool = False) -> Sequence[Reference]:
        """Give the oldest."""
        self._check()
        return [debt for key, debt in self.owed.items() if (key in self.aside) == set_aside][:limit]

    async def set_aside(self, reference: Reference, why: str) -> None:
        """Keep it apart."""
        self._check()
        self.aside[reference.key] = why

    async def settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        """Strike it off."""
        self._check()
        del self.owed[reference.key]
        self.aside.pop(reference.key, None)
        self.settled.append((reference, answer))

    def _check(self) -> None:
        if self.broken:
            raise DebtNotWritten("the fake disk is full")


@dataclass
class FakeDiscovery:
    """The `Discovery` port over a list, given in turn; `reports` holds what was said of them."""

    urls: list[str] = field(default_factory=list)
    reports: list[tuple[str, bool]] = field(default_factory=list)

    def pick(self) -> str | None:
        """Give the next."""
        if not self.urls:
            return None
        self.urls.append(self.urls.pop(0))
        return self.urls[-1]

    def report(self, url: str, *, ok: bool) -> None:
        """Note it."""
        self.reports.append((url, ok))


@dataclass
class FakeForwarder:
    """The `Forwarder` port: answers 200 and keeps what it was given, or raises `failure`.

    `wait` stands for the wait for a connection; without one there is always a connection free.
    """

    forwarded: list[tuple[Allow, bytes]] = field(default_factory=list)
    failure: UpstreamError | None = None
    wait: Callable[[], None] | None = None

    async def forward(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request to its end and answer it."""
        if self.wait is not None:
            self.wait()
            if not permit.still_valid():
                raise PermitLapsed
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if self.failure is not None:
            raise self.failure
        self.forwarded.append((Allow(permit.grounds), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class FakeTelemetry:
    """The `Telemetry` port as lists: `decisions` of (decision, reason), their `references`, and all else in `notes`."""

    decisions: list[tuple[str, Reason | None]] = field(default_factory=list)
    references: list[Reference | None] = field(default_factory=list)
    notes: list[tuple[Any, ...]] = field(default_factory=list)

    def decided(
        self,
        decision: str,
        reason: Reason | None = None,
        reference: Reference | None = None,
        detail: str | None = None,
    ) -> None:
        """Note a decision."""
        self.decisions.append((decision, reason))
        self.references.append(reference)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """Note a failure of the memory service."""
        self.notes.append(("upstream_failed", reason))

    def unguarded_write(self) -> None:
        """Note a write that passed unguarded."""
        self.notes.append(("unguarded_write",))

    def session_answer(self, reference: Reference, answer: str, address: str) -> None:
        """Note an answer of the session service: not its address, which tests choose."""

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        """Note a call."""
        self.notes.append(("session_call", operation, outcome))

    def breaker(self, *, is_open: bool) -> None:
        """Note the breaker."""
        self.notes.append(("breaker", is_open))

    def events_connected(self, *, connected: bool) -> None:
        """Note the stream."""
        self.notes.append(("events_connected", connected))

    def debt_conflict(self, reference: Reference, outcome: str) -> None:
        """Note a conflict."""
        self.notes.append(("debt_conflict", reference, outcome))

    def shadow_dropped(self) -> None:
        """Note a drop."""
        self.notes.append(("shadow_dropped",))

    def upstream(self, seconds: float) -> None:
        """Note an answer of the memory service."""
        self.notes.append(("upstream",))

    def overhead(self, seconds: float) -> None:
        """Note time of our own."""
        self.notes.append(("overhead",))


def permit(grounds: Grounds = Grounds.PASSED) -> Permit:
    """Issue a permit for a test of what comes after the guard."""
    return Permit(SEAL, grounds)
