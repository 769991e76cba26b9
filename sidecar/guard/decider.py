"""Decides the calls of a request: by what is known here, by what the session service answers, or by a debt.

Every call is decided before any session is created or owed, and one refusal refuses all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from mypy_extensions import mypyc_attr

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decisions import (
    Allow,
    Create,
    Decision,
    Policy,
    becomes_debt,
    cannot_create,
    decide,
    decide_by_session,
    forgotten,
    owned_by_another,
)
from sidecar.guard.ports import DebtNotWritten, Debts, SessionService
from sidecar.guard.session_resolver import SessionResolver
from sidecar.guard.verdicts import Conflict, Gone, Owed, Unknown, Verdict
from sidecar.model import Call, Grounds, Reference, Refusal, RuleKind

Decided: TypeAlias = Allow | Refusal

_PASSED: Final = Allow(Grounds.PASSED)

_MOST_DECIDED: Final = 3
"""Most times that a request is decided because its sessions changed while it was."""

_AT_ONCE: Final = 16
"""Most sessions of one batch that are asked about at the same time."""

T = TypeVar("T")


class Owe:
    """The plan for a session of unknown existence: forward, once the debt is on disk."""


Plan: TypeAlias = Decision | Owe


@mypyc_attr(allow_interpreted_subclasses=True)
class Decider:
    """Decides about sessions, and creates or owes those that are missing.

    `debts` are consulted wherever they are given; outages may be forwarded only with them.
    """

    def __init__(
        self,
        known: SessionCache,
        service: SessionService,
        policy: Policy,
        debts: Debts | None = None,
    ) -> None:
        self._known = known
        self._resolver = SessionResolver(service, known)
        self._debts = debts
        self._on_outage = policy.on_outage
        self._on_ended = policy.on_ended
        self._timeout = policy.timeout

    async def decide(self, calls: Sequence[Call]) -> list[Decided | None]:
        """Decide each call; None for one that was left undecided because another was refused.

        While one waits for its answer, what was decided about another may be overtaken: then all are decided again.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        decisions: list[Decided | Reference | None] = []
        for _ in range(_MOST_DECIDED):
            ticket = self._known.ticket()
            decided = await self._decide_once(calls, deadline)
            decisions = [self._unless_overtaken(*each, ticket) for each in zip(calls, decided, strict=True)]
            if not any(isinstance(decision, Reference) for decision in decisions):
                break
        return [forgotten(decision) if isinstance(decision, Reference) else decision for decision in decisions]

    def decide_locally(self, call: Call) -> Decided | Reference:
        """Decide by what this process knows, or give the reference about which the session service has to be asked."""
        reference = call.reference
        if call.refusal is not None:
            return call.refusal
        if reference is None or reference.kind is RuleKind.PASS:
            return _PASSED
        session = self._known.get(reference.key)
        if session is not None:
            return decide_by_session(reference, session, Grounds.KNOWN, self._on_ended)
        claim = self._claim(reference)
        decision = None if claim is None else self._decide_by(reference, claim)
        return decision if isinstance(decision, Allow | Refusal) else reference

    async def aclose(self) -> None:
        """Wait for what is being asked or written down."""
        await self._resolver.aclose()

    async def _decide_once(self, calls: Sequence[Call], deadline: float) -> list[Decided | None]:
        decisions = [self.decide_locally(call) for call in calls]
        if any(isinstance(decision, Refusal) for decision in decisions):
            return [None if isinstance(decision, Reference) else decision for decision in decisions]
        unknown = list(dict.fromkeys(decision for decision in decisions if isinstance(decision, Reference)))
        settled = await self._settle(unknown, deadline)
        return [settled[decision] if isinstance(decision, Reference) else decision for decision in decisions]

    def _unless_overtaken(self, call: Call, decision: Decided | None, ticket: int) -> Decided | Reference | None:
        """Hold what was allowed against what is known now, if since `ticket` an event came or the debt was settled.

        Gives the reference where nothing is known any more.
        """
        reference = call.reference
        if not isinstance(decision, Allow) or reference is None or reference.kind is RuleKind.PASS:
            return decision
        is_settled = (
            decision.grounds is Grounds.OWED and self._debts is not None and self._debts.claimant(reference.key) is None
        )
        if not is_settled and not self._known.overtaken(reference.key, ticket):
            return decision
        now = self.decide_locally(call)
        return decision if isinstance(now, Allow) else now

    async def _settle(self, references: Sequence[Reference], deadline: float) -> Mapping[Reference, Decided | None]:
        if len(references) == 1:
            return {references[0]: await self.make_sure(references[0], deadline)}
        plans = await _each(references, lambda reference: self.plan(reference, deadline))
        first: dict[object, Reference] = {}
        for reference, plan in plans.items():
            # A missing session is created for one user; it cannot be created for another one then.
            is_there = isinstance(plan, Allow | Refusal)
            if not is_there and first.setdefault(reference.key, reference).user_id != reference.user_id:
                plans[reference] = owned_by_another(reference)
        if any(isinstance(plan, Refusal) for plan in plans.values()):
            return {reference: plan if isinstance(plan, Refusal) else None for reference, plan in plans.items()}
        return await _each(references, lambda reference: self.carry_out(reference, plans[reference], deadline))

    async def make_sure(self, reference: Reference, deadline: float) -> Decided:
        """Decide the only session that is asked about. Nothing else can refuse, so one step finds or creates it."""
        plan = Create() if reference.kind is RuleKind.ENSURE else await self.plan(reference, deadline)
        return await self.carry_out(reference, plan, deadline)

    async def plan(self, reference: Reference, deadline: float) -> Plan:
        """Decide by looking alone what will have to be done, provided that no other call is refused."""
        return await self._ask(self._resolver.look, reference, deadline)

    async def carry_out(self, reference: Reference, plan: Plan, deadline: float) -> Decided:
        """Do what was planned."""
        if isinstance(plan, Create):
            plan = await self._ask(self._resolver.ensure, reference, deadline)
        if isinstance(plan, Owe):
            # It may have become known as another's since it was asked about, or while the debt was written down.
            plan = self.recalled_refusal(reference) or self._decide_by(
                reference, await self._resolver.owe(reference, self._write_down)
            )
        return cannot_create(reference) if isinstance(plan, Create) else plan

    async def _ask(
        self, ask: Callable[[Reference, float], Awaitable[Verdict | Owed]], reference: Reference, deadline: float
    ) -> Plan:
        """Ask, and decide by the answer, or that a debt is written."""
        # The session may have been owed to another user since it was found to be unknown.
        claim = self._claim(reference)
        decision = self._decide_by(reference, await ask(reference, deadline) if claim is None else claim)
        return Owe() if becomes_debt(reference, decision, self._on_outage) else decision

    def _claim(self, reference: Reference) -> Owed | Unknown | None:
        """Give the owner of an owed session; None where the session service has to be asked.

        The claimant of a debt that is set aside has to ask too: the service answers, and may say more by now.
        """
        claim = None if self._debts is None else self._debts.claimant(reference.key)
        if isinstance(claim, Owed) and claim.set_aside and claim.owner == reference.user_id:
            return None
        return claim

    async def _write_down(self, reference: Reference) -> Owed | Conflict | Gone | Unknown:
        """Write the debt down and name the first claimant; Unknown where that failed.

        `Conflict` and `Gone` where it is known already that the debt could not be paid.
        """
        assert self._debts is not None  # noqa: S101 # for the type checker: nothing is owed unless a journal is kept
        try:
            return await self._debts.owe(reference)
        except DebtNotWritten as error:
            return Unknown(f"the debt could not be written down: {error}")

    def _decide_by(self, reference: Reference, answer: Verdict | Owed) -> Decision:
        """Decide by an answer; where that is unknown or owed, what was last known may refuse."""
        refusal = self.recalled_refusal(reference) if isinstance(answer, Unknown | Owed) else None
        return refusal or decide(reference, answer, self._on_ended)

    def recalled_refusal(self, reference: Reference) -> Refusal | None:
        """Refuse by what was last known, if that refuses.

        Neither a deletion nor an end nor an owner is ever taken back. So what is too old to admit can still refuse.
        """
        session = self._known.recall(reference.key)
        if session is None:
            return None
        decision = decide_by_session(reference, session, Grounds.KNOWN, self._on_ended)
        return decision if isinstance(decision, Refusal) else None


async def _each(references: Sequence[Reference], step: Callable[[Reference], Awaitable[T]]) -> dict[Reference, T]:
    results: dict[Reference, T] = {}
    for start in range(0, len(references), _AT_ONCE):
        some = references[start : start + _AT_ONCE]
        results.update(zip(some, await asyncio.gather(*map(step, some)), strict=True))
    return results
