"""Decides about one session: by what is known of it here, by what the session service answers, or by a debt.

The table in `decisions` turns each answer into a decision, and only then is a session created, or in an outage owed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from sidecar.guard.decisions import OnEnded, OnOutage, cannot_create, decide, decide_by_session, still_refuses
from sidecar.guard.ports import DebtNotWritten, Debts, KnownSessions, SessionService
from sidecar.guard.session_resolver import SessionResolver
from sidecar.model import (
    Allow,
    Conflict,
    Create,
    Found,
    Gone,
    Grounds,
    Owed,
    Reference,
    Refusal,
    RuleKind,
    Unknown,
    Verdict,
)

Decided: TypeAlias = Allow | Refusal


class _Owe:
    """The plan for a session of unknown existence: forward, once the debt is on disk."""


_OWE: Final = _Owe()


class SessionDecider:
    """Decides about references that are not of the kind `PASS`. Deadlines are in the event loop's time.

    `debts` are consulted wherever they are given; `on_outage` may be `FORWARD` only with them (ValueError otherwise).
    """

    def __init__(
        self, known: KnownSessions, service: SessionService, debts: Debts | None, on_outage: OnOutage, on_ended: OnEnded
    ) -> None:
        if on_outage is OnOutage.FORWARD and debts is None:
            raise ValueError("forwarding in an outage needs a journal of debts")
        self._known = known
        self._resolver = SessionResolver(service, known)
        self._debts = debts
        self._forwards = on_outage is OnOutage.FORWARD
        self._on_ended = on_ended

    def decide_locally(self, reference: Reference) -> Decided | None:
        """Decide by what this process knows; None where the session service has to be asked."""
        session = self._known.get(reference.key)
        if session is not None:
            return decide_by_session(reference, session, Grounds.KNOWN, self._on_ended)
        claim = self._claim(reference)
        return None if claim is None else self._conclude(reference, self._unless_recalled(reference, claim))

    def is_overtaken(self, reference: Reference, allowed: Allow, ticket: int) -> bool:
        """Whether, since `ticket`, an event came about an allowed session, or the debt for it was settled."""
        if allowed.grounds is Grounds.OWED and (self._debts is None or self._debts.claimant(reference.key) is None):
            return True
        return self._known.overtaken(reference.key, ticket)

    async def make_sure(self, reference: Reference, deadline: float) -> Decided:
        """Decide the only session that is asked about. Nothing else can refuse, so one step finds or creates it."""
        if reference.kind is RuleKind.ENSURE:
            return await self._make(reference, deadline)
        return self._conclude(reference, await self._ask(self._resolver.look, reference, deadline))

    async def plan(self, reference: Reference, deadline: float) -> Decided | Create | _Owe:
        """Decide by looking alone what will have to be done, provided that no other call is refused."""
        answer = await self._ask(self._resolver.look, reference, deadline)
        return _OWE if self._becomes_debt(reference, answer) else decide(reference, answer, self._on_ended)

    async def carry_out(self, reference: Reference, plan: Decided | Create | _Owe, deadline: float) -> Decided:
        """Do what was planned."""
        match plan:
            case Create():
                return await self._make(reference, deadline)
            case _Owe():
                return await self._owe(reference)
            case _:
                return plan

    async def aclose(self) -> None:
        """Wait for what is being asked or written down."""
        await self._resolver.aclose()

    async def _make(self, reference: Reference, deadline: float) -> Decided:
        answer = await self._ask(self._resolver.ensure, reference, deadline)
        if self._becomes_debt(reference, answer):
            return await self._owe(reference)
        return self._conclude(reference, answer)

    async def _ask(
        self, ask: Callable[[Reference, float], Awaitable[Verdict | Owed]], reference: Reference, deadline: float
    ) -> Verdict | Owed:
        # The session may have been owed to another user since it was found to be unknown.
        claim = self._claim(reference)
        return self._unless_recalled(reference, await ask(reference, deadline) if claim is None else claim)

    def _claim(self, reference: Reference) -> Owed | Unknown | None:
        """Give the owner of an owed session; None where the session service has to be asked.

        The claimant of a debt that is set aside has to ask too: the service answers, and may say more by now.
        """
        claim = None if self._debts is None else self._debts.claimant(reference.key)
        if isinstance(claim, Owed) and claim.set_aside and claim.owner == reference.user_id:
            return None
        return claim

    def _becomes_debt(self, reference: Reference, answer: Verdict | Owed) -> bool:
        """Whether a debt is written. A session that a rule only requires is not created, neither now nor later."""
        return self._forwards and isinstance(answer, Unknown) and reference.kind is RuleKind.ENSURE

    async def _owe(self, reference: Reference) -> Decided:
        # It may have become known as another's since it was asked about, or while the debt was written down.
        if (known := self._recall(reference)) is not None:
            return self._conclude(reference, known)
        answer = await self._resolver.owe(reference, self._write_down)
        return self._conclude(reference, self._unless_recalled(reference, answer))

    async def _write_down(self, reference: Reference) -> Owed | Conflict | Gone | Unknown:
        """Write the debt down and name the first claimant; Unknown where that failed.

        `Conflict` and `Gone` where it is known already that the debt could not be paid.
        """
        assert self._debts is not None  # noqa: S101 # for the type checker: nothing is owed unless a journal is kept
        try:
            return await self._debts.owe(reference)
        except DebtNotWritten as error:
            return Unknown(f"the debt could not be written down: {error}")

    def _unless_recalled(self, reference: Reference, answer: Verdict | Owed) -> Verdict | Owed:
        """Give the answer, unless it is unknown or owed and what was last known refuses."""
        return self._recall(reference) or answer if isinstance(answer, Unknown | Owed) else answer

    def _recall(self, reference: Reference) -> Found | None:
        """Give what was last known, however old, if it refuses."""
        session = self._known.recall(reference.key)
        if session is None or not still_refuses(reference, session, self._on_ended):
            return None
        return Found(session)

    def _conclude(self, reference: Reference, answer: Verdict | Owed) -> Decided:
        decision = decide(reference, answer, self._on_ended)
        return cannot_create(reference) if isinstance(decision, Create) else decision
