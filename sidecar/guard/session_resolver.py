"""The session resolver asks the session service, once for a session however many requests wait for the answer.

Theory of operation
-------------------

For one session at most one *step* is under way: a look-up, a creation, or the writing of a debt. The request that
starts the step leads; requests about the same session that arrive meanwhile wait for its answer. A debt takes its turn
like a question, because the two may find different owners for one session.

A waiting request wants a step of its own, perhaps for another user. The leader's answer settles it where the answer
says the same to every request: the session exists, or was deleted, or the session service cannot say. Otherwise the
waiting request takes its own step once the leader is done. `Absent` does not say the same: a session service that looks
within one user's sessions answers so for a session of another user. Two requests that want the same step, for the same
user and with the same values of the profile's variables, share every answer, but only to a step that began after both
had come: what was absent, or another user's, when an earlier step was taken may have been created since.

What a request gets from the answer to another step, or to one that began before it came:

    answer         look    create  owe
    -------------  ------  ------  ------
    Found          same    same    same
    Created        Found   Found   Found
    Gone           same    same    same
    Owed           same    same    same
    Unknown        same    same    retry
    Absent         retry   retry   retry
    Conflict       retry   retry   retry
    Invalid        retry   retry   retry
    Untrustworthy  retry   retry   retry

*same*: the leader's answer. *retry*: its own step. Only the leader gets `Created`, so one creation is counted once.

An event may arrive while a question is under way. The resolver takes a ticket of the cache before it asks, and the
cache refuses the answer of a ticket that an event has outdated. Such an answer is neither remembered nor believed: the
resolver asks again, at most three times, and then answers `Unknown`. A session that is found then, as the answer before
created it, counts as created. It asks nothing where the cache knows that the session was deleted: a session service
without a trace of that would create it anew. Answers that say nothing of a session (`Unknown`, `Absent`, `Conflict`,
`Invalid`, `Untrustworthy`) are never remembered.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.ports import SessionService
from sidecar.guard.single_flight import SingleFlight
from sidecar.guard.verdicts import Created, Found, Gone, Owed, Unknown, Verdict
from sidecar.model import Reference, Session, SessionStatus

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
    """Looks sessions up and creates them. No method raises for what the session service does."""

    def __init__(self, service: SessionService, known: SessionCache) -> None:
        self._service = service
        self._known = known
        self._single_flight: SingleFlight[_Taken] = SingleFlight()

    async def look(self, reference: Reference, deadline: float) -> Verdict | Owed:
        """Look the session up; never creates one. `deadline` is in the event loop's time."""
        return await self._share(reference, _Step.LOOK, lambda: self._ask(self._service.look, reference), deadline)

    async def ensure(self, reference: Reference, deadline: float) -> Verdict | Owed:
        """Create the session if it is missing; only the leader gets `Created`; waiting requests get `Found`."""
        return await self._share(reference, _Step.CREATE, lambda: self._ask(self._service.ensure, reference), deadline)

    async def owe(
        self, reference: Reference, write_down: Callable[[Reference], Awaitable[Verdict | Owed]]
    ) -> Verdict | Owed:
        """Write a debt down, unless the answer to a question that is under way settles the matter first.

        Waits for that question as long as the session service may take.
        """
        return await self._share(reference, _Step.OWE, lambda: write_down(reference))

    async def aclose(self) -> None:
        """Wait for what is under way; each question ends with the session service's own time-out."""
        await self._single_flight.landed()

    async def _share(
        self,
        reference: Reference,
        step: _Step,
        take: Callable[[], Awaitable[Verdict | Owed]],
        deadline: float | None = None,
    ) -> Verdict | Owed:
        async def lead() -> _Taken:
            return _Taken(reference, step, await take())

        began_earlier = True
        while True:
            try:
                taken, led = await self._single_flight.share(reference.key, lead, deadline)
            except TimeoutError:
                return _TOO_LATE
            if led:
                return taken.answer
            answer = _answer_for(step, taken.answer)
            if answer is not None:
                return answer
            if not began_earlier and taken.step is step and taken.reference.asks_like(reference):
                return taken.answer
            began_earlier = False

    async def _ask(self, ask: Callable[[Reference], Awaitable[Verdict]], reference: Reference) -> Verdict:
        created: Session | None = None
        for _ in range(_MOST_ASKED):
            ticket = self._known.ticket_to_ask(reference.key)
            if ticket is None:
                return Gone()
            answer = await ask(reference)
            if isinstance(answer, Created):
                created = answer.session
            if remember(self._known, reference, answer, ticket):
                # The session is found now because an answer before this one, which an event outdated, created it.
                return Created(answer.session) if isinstance(answer, Found) and answer.session == created else answer
        return _OVERTAKEN


def remember(known: SessionCache, reference: Reference, answer: Verdict, ticket: int) -> bool:
    """Remember an answer that describes a session; a failure or an absence is never remembered.

    False where an event overtook the answer since `ticket`.
    """
    match answer:
        case Found(session) | Created(session):
            return known.remember(reference.key, session, ticket)
        case Gone():
            return known.remember(reference.key, _TOMBSTONE, ticket)
        case _:
            return True


def _answer_for(step: _Step, answer: Verdict | Owed) -> Verdict | Owed | None:
    """The answer for every request that waits to take `step`; None where each has to take its own step."""
    match answer:
        case Created(session):
            return Found(session)
        case Found() | Gone() | Owed():
            return answer
        case Unknown() if step is not _Step.OWE:
            return answer
        case _:
            return None
