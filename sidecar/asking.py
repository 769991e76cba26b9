"""Asks the session service, once for a session however many want to know, and remembers what may be remembered.

An answer that an event overtook is neither remembered nor believed: the question is asked again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from sidecar.core.model import (
    Absent,
    Answer,
    Created,
    Found,
    Gone,
    Reference,
    Session,
    Status,
    Unknown,
)
from sidecar.flights import Flights
from sidecar.ports import KnownSessions, SessionService

_TOMBSTONE: Final = Session(None, Status.DELETED)
_OVERTAKEN: Final = Unknown("it keeps changing while it is asked for")
_TOO_LATE: Final = Unknown("the session service took too long")
_MOST_ASKED: Final = 3


@dataclass(frozen=True, slots=True)
class _Asked:
    reference: Reference
    creating: bool
    answer: Answer


class Asker:
    """Looks sessions up and makes sure of them. No method raises for what the session service does."""

    def __init__(self, service: SessionService, known: KnownSessions) -> None:
        self._service = service
        self._known = known
        self._flights: Flights[_Asked] = Flights()

    async def look(self, reference: Reference, deadline: float) -> Answer:
        """Look the session up; never creates one. `deadline` is in the event loop's time."""
        return await self._within(reference, deadline, creating=False)

    async def ensure(self, reference: Reference, deadline: float) -> Answer:
        """Create the session if it is missing; `Created` is said to one asker only, `Found` to those who waited."""
        return await self._within(reference, deadline, creating=True)

    async def aclose(self) -> None:
        """Wait for the questions under way; each ends with the session service's own time-out."""
        await self._flights.landed()

    async def _within(self, reference: Reference, deadline: float, *, creating: bool) -> Answer:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._share(reference, creating=creating)
        except TimeoutError:
            return _TOO_LATE

    async def _share(self, reference: Reference, *, creating: bool) -> Answer:
        while True:
            asked, led = await self._flights.share(reference.key, lambda: self._ask(reference, creating=creating))
            if led:
                return asked.answer
            answer = _answer_for(reference, asked, creating=creating)
            if answer is not None:
                return answer

    async def _ask(self, reference: Reference, *, creating: bool) -> _Asked:
        ask = self._service.ensure if creating else self._service.look
        for _ in range(_MOST_ASKED):
            ticket = self._known.ticket()
            answer = await ask(reference)
            if self._remember(reference, answer, ticket):
                return _Asked(reference, creating, answer)
        return _Asked(reference, creating, _OVERTAKEN)

    def _remember(self, reference: Reference, answer: Answer, ticket: int) -> bool:
        """Remember what says something of a session; what went wrong, or is absent, is never remembered."""
        match answer:
            case Found(session) | Created(session):
                return self._known.remember(reference.key, session, ticket)
            case Gone():
                return self._known.remember(reference.key, _TOMBSTONE, ticket)
            case _:
                return True


def _answer_for(reference: Reference, asked: _Asked, *, creating: bool) -> Answer | None:
    """What another's question says to this asker, or None where it has to be asked anew."""
    match asked.answer:
        case Created(session):
            return Found(session)
        case Found() | Gone() | Unknown():
            return asked.answer
        case Absent() if not creating:
            return asked.answer
        case _:
            same = asked.reference.user_id == reference.user_id and asked.creating == creating
            return asked.answer if same else None
