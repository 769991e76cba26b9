"""Asks the session service, once for a session however many want to know, and remembers what may be remembered.

An answer that an event overtook is neither remembered nor believed: the question is asked again. Nothing is owed while
a question about the session is under way, and nothing is asked while its debt is written down: one of the two could
give the session to somebody else.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sidecar.guard.ports import KnownSessions, SessionService
from sidecar.guard.single_flight import SingleFlight
from sidecar.model import (
    Absent,
    Created,
    Found,
    Gone,
    Owed,
    Reference,
    Session,
    SessionStatus,
    Unknown,
    Verdict,
)

_TOMBSTONE: Final = Session(None, SessionStatus.DELETED)
_OVERTAKEN: Final = Unknown("it keeps changing while it is asked for")
_TOO_LATE: Final = Unknown("the session service took too long")
_MOST_ASKED: Final = 3


class _Step(enum.Enum):
    LOOK = enum.auto()
    CREATE = enum.auto()
    OWE = enum.auto()


@dataclass(frozen=True, slots=True)
class _Taken:
    """A step that was taken for a session, and what came of it."""

    reference: Reference
    step: _Step
    answer: Verdict | Owed


class SessionResolver:
    """Looks sessions up and makes sure of them. No method raises for what the session service does."""

    def __init__(self, service: SessionService, known: KnownSessions) -> None:
        self._service = service
        self._known = known
        self._single_flight: SingleFlight[_Taken] = SingleFlight()

    async def look(self, reference: Reference, deadline: float) -> Verdict | Owed:
        """Look the session up; never creates one. `deadline` is in the event loop's time."""
        return await self._within(reference, deadline, _Step.LOOK)

    async def ensure(self, reference: Reference, deadline: float) -> Verdict | Owed:
        """Create the session if it is missing; `Created` is said to one asker only, `Found` to those who waited."""
        return await self._within(reference, deadline, _Step.CREATE)

    async def owe(
        self, reference: Reference, write_down: Callable[[Reference], Awaitable[Verdict | Owed]]
    ) -> Verdict | Owed:
        """Write a debt down, unless a question that is under way says first what there is.

        Waits for that question as long as the session service may take.
        """
        return await self._share(reference, _Step.OWE, lambda: write_down(reference))

    async def aclose(self) -> None:
        """Wait for what is under way; each question ends with the session service's own time-out."""
        await self._single_flight.landed()

    async def _within(self, reference: Reference, deadline: float, step: _Step) -> Verdict | Owed:
        ask = self._service.ensure if step is _Step.CREATE else self._service.look
        try:
            async with asyncio.timeout_at(deadline):
                return await self._share(reference, step, lambda: self._ask(ask, reference))
        except TimeoutError:
            return _TOO_LATE

    async def _share(
        self, reference: Reference, step: _Step, take: Callable[[], Awaitable[Verdict | Owed]]
    ) -> Verdict | Owed:
        async def lead() -> _Taken:
            return _Taken(reference, step, await take())

        while True:
            taken, led = await self._single_flight.share(reference.key, lead)
            answer = taken.answer if led else _answer_for(reference, step, taken)
            if answer is not None:
                return answer

    async def _ask(self, ask: Callable[[Reference], Awaitable[Verdict]], reference: Reference) -> Verdict:
        for _ in range(_MOST_ASKED):
            ticket = self._known.ticket()
            answer = await ask(reference)
            if remember(self._known, reference, answer, ticket):
                return answer
        return _OVERTAKEN


def remember(known: KnownSessions, reference: Reference, answer: Verdict, ticket: int) -> bool:
    """Remember what says something of a session; what went wrong, or is absent, is never remembered.

    False where an event overtook the answer since `ticket`.
    """
    match answer:
        case Found(session) | Created(session):
            return known.remember(reference.key, session, ticket)
        case Gone():
            return known.remember(reference.key, _TOMBSTONE, ticket)
        case _:
            return True


def _answer_for(reference: Reference, step: _Step, taken: _Taken) -> Verdict | Owed | None:
    """What another's step says to whoever wants to take this one, or None where it has to be taken all the same."""
    match taken.answer:
        case Created(session):
            return Found(session)
        case Found() | Gone() | Owed():
            return taken.answer
        case Unknown() if step is not _Step.OWE or taken.step is step:
            return taken.answer
        case Absent() if step is _Step.LOOK:
            return taken.answer
        case _:
            same = taken.reference.user_id == reference.user_id and taken.step is step
            return taken.answer if same else None
