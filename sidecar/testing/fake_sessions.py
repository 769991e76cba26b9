"""Fakes of the ports about sessions, over dicts: the session service and the journal of debts."""

# a fake takes what its port takes, whether it uses it or not

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sidecar.guard.ports import DebtNotWritten
from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone, Owed, Unknown, Verdict
from sidecar.model import Reference, Session, SessionKey, SessionStatus

Before: TypeAlias = Callable[[str, Reference], Awaitable[Verdict | None]]
"""Runs before a fake session service answers: may wait, and may answer in its place."""


@dataclass
class FakeSessionService:
    """The `SessionService` port over a dict. `asked` holds every question as (operation, reference).

    While `down` is set, every answer is `Unknown`; without `creates`, no session is created. `before` runs ahead of
    every answer and may give another.
    """

    sessions: dict[SessionKey, Session] = field(default_factory=dict)
    asked: list[tuple[str, Reference]] = field(default_factory=list)
    down: bool = False
    creates: bool = True
    before: Before | None = None

    async def look(self, reference: Reference) -> Verdict:
        return await self._interfere("look", reference) or self._look(reference)

    async def ensure(self, reference: Reference) -> Verdict:
        return await self._make("ensure", reference, creates=self.creates)

    async def create(self, reference: Reference) -> Verdict:
        return await self._make("create", reference, creates=True)

    async def _make(self, operation: str, reference: Reference, *, creates: bool) -> Verdict:
        answer = await self._interfere(operation, reference) or self._look(reference)
        if isinstance(answer, Absent) and creates:
            session = self.sessions[reference.key] = Session(reference.user_id, SessionStatus.ACTIVE)
            return Created(session)
        return answer

    def add(self, key: SessionKey, owner: str | None, status: SessionStatus = SessionStatus.ACTIVE) -> None:
        """Store a session, as if another program had created it."""
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


@dataclass
class FakeDebts:
    """The `Debts` port over a dict. `broken` makes it fail like a full disk; `settled` tells how debts ended."""

    owed: dict[SessionKey, Reference] = field(default_factory=dict)
    aside: dict[SessionKey, str] = field(default_factory=dict)
    settled: list[tuple[Reference, Verdict]] = field(default_factory=list)
    broken: bool = False

    async def owe(self, reference: Reference) -> Owed | Conflict | Gone:
        self._check()
        for debt, answer in self.settled:
            if debt.key == reference.key and isinstance(answer, Gone):
                return answer
            if debt == reference and isinstance(answer, Conflict):
                return answer
        owner = self.owed.setdefault(reference.key, reference).user_id
        return Owed(owner, reference.key in self.aside)

    def claimant(self, key: SessionKey) -> Owed | Unknown | None:
        reference = self.owed.get(key)
        return None if reference is None else Owed(reference.user_id, key in self.aside)

    def any_owed(self) -> bool:
        return len(self.owed) > len(self.aside)

    async def due(self, limit: int, *, set_aside: bool = False) -> Sequence[Reference]:
        self._check()
        return [debt for key, debt in self.owed.items() if (key in self.aside) == set_aside][:limit]

    async def set_aside(self, reference: Reference, why: str) -> None:
        self._check()
        self.aside[reference.key] = why

    async def settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        self._check()
        del self.owed[reference.key]
        self.aside.pop(reference.key, None)
        self.settled.append((reference, answer))

    def _check(self) -> None:
        if self.broken:
            raise DebtNotWritten("the fake disk is full")
