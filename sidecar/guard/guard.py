"""The guard: no request is forwarded without its permit, and each permit names the grounds on which it was issued.

The cache answers at once for the sessions that it knows; about the others `session_decider` decides. Every call of a
request is decided before any session is created for it, and one refusal refuses all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from sidecar.guard.decisions import LAPSED, OnEnded, OnOutage, forgotten, owned_by_another
from sidecar.guard.immediate_guard import ImmediateGuard, record_decisions
from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.ports import Debts, KnownSessions, SessionService, Telemetry
from sidecar.guard.session_decider import Decided, SessionDecider
from sidecar.model import Allow, Call, Extraction, Grounds, Reference, Refusal, Refusals, RuleKind

_PASSED: Final = Allow(Grounds.PASSED)
_KNOWN: Final = Allow(Grounds.KNOWN)
_UNGUARDED: Final = Permit(SEAL, Grounds.PASSED)

_EVENTFUL: Final = (Grounds.PASSED, Grounds.KNOWN, Grounds.FOUND, Grounds.CREATED, Grounds.OWED)
"""A batch is admitted on the last of these that any of its calls was."""

_MOST_DECIDED: Final = 3
"""Most times that a request is decided because its sessions changed while it was."""

_MOST_LAPSES: Final = 3
"""How often the permit of one request may lapse before the request is refused for now."""

_AT_ONCE: Final = 16
"""Most sessions of one batch that are asked about at the same time."""

T = TypeVar("T")


class Guard(ImmediateGuard):
    """Decides requests.

    `debts` are consulted wherever they are given; `on_outage` may be `FORWARD` only with them (ValueError otherwise).
    `timeout` is in seconds and covers everything that is asked of the session service for one request.
    """

    def __init__(
        self,
        known: KnownSessions,
        service: SessionService,
        telemetry: Telemetry,
        *,
        timeout: float,
        debts: Debts | None = None,
        on_outage: OnOutage = OnOutage.REJECT,
        on_ended: OnEnded = OnEnded.FORWARD,
    ) -> None:
        self._known = known
        self._sessions = SessionDecider(known, service, debts, on_outage, on_ended)
        self._telemetry = telemetry
        self._timeout = timeout
        self._recheck = self._would_permit

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        self._telemetry.decided("passed")
        return _UNGUARDED

    def permit_known(self, extraction: Extraction) -> Permit | None:
        """Permit at once what needs no question: each call names no session, or one that is known for its user.

        None is no refusal: `authorize` decides then.
        """
        calls = extraction.calls
        if len(calls) != 1:
            return self._permit_known_batch(extraction)
        call = calls[0]
        if call.refusal is not None:
            return None
        reference = call.reference
        if reference is None or reference.kind is RuleKind.PASS:
            return self.pass_through()
        if not self._known.admits(reference.key, reference.user_id):
            return None
        self._telemetry.decided("known", None, reference)
        return Permit(SEAL, _KNOWN.grounds, extraction, self._recheck)

    async def authorize(self, extraction: Extraction, lapses: int = 0) -> Permit | Refusals:
        """Decide every call of a request. One refusal refuses all of them, and then no session was created.

        `lapses` is how often a permit of this request has lapsed before it was used; too often, and it is refused.
        """
        if lapses < _MOST_LAPSES:
            decisions = await self._decide_calls(extraction.calls)
        else:
            decisions = [LAPSED] * len(extraction.calls)
        record_decisions(self._telemetry, extraction.calls, decisions)
        allowed = [decision.grounds for decision in decisions if isinstance(decision, Allow)]
        if len(allowed) == len(decisions):
            grounds = max(allowed, key=_EVENTFUL.index, default=Grounds.PASSED)
            return Permit(SEAL, grounds, extraction, self._recheck)
        return Refusals(tuple(decision if isinstance(decision, Refusal) else None for decision in decisions))

    async def aclose(self) -> None:
        """Wait for what is being asked or written down."""
        await self._sessions.aclose()

    def _permit_known_batch(self, extraction: Extraction) -> Permit | None:
        allowed: list[Allow] = []
        for call in extraction.calls:
            reference = call.reference
            if call.refusal is not None:
                return None
            if reference is None or reference.kind is RuleKind.PASS:
                allowed.append(_PASSED)
            elif self._known.admits(reference.key, reference.user_id):
                allowed.append(_KNOWN)
            else:
                return None
        record_decisions(self._telemetry, extraction.calls, allowed)
        grounds = Grounds.KNOWN if _KNOWN in allowed else Grounds.PASSED
        return Permit(SEAL, grounds, extraction, self._recheck)

    def _would_permit(self, extraction: Extraction) -> bool:
        return all(isinstance(self._decide_locally(call), Allow) for call in extraction.calls)

    async def _decide_calls(self, calls: Sequence[Call]) -> list[Decided | None]:
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

    def _unless_overtaken(self, call: Call, decision: Decided | None, ticket: int) -> Decided | Reference | None:
        """Hold what was admitted against what is known now, if since `ticket` an event came or the debt was settled.

        Gives the reference where nothing is known any more.
        """
        reference = call.reference
        if not isinstance(decision, Allow) or reference is None or reference.kind is RuleKind.PASS:
            return decision
        if not self._sessions.is_overtaken(reference, decision, ticket):
            return decision
        now = self._decide_locally(call)
        return decision if isinstance(now, Allow) else now

    async def _decide_once(self, calls: Sequence[Call], deadline: float) -> list[Decided | None]:
        decisions = [self._decide_locally(call) for call in calls]
        if any(isinstance(decision, Refusal) for decision in decisions):
            return [None if isinstance(decision, Reference) else decision for decision in decisions]
        unknown = dict.fromkeys(decision for decision in decisions if isinstance(decision, Reference))
        settled = await self._settle(list(unknown), deadline)
        return [settled[decision] if isinstance(decision, Reference) else decision for decision in decisions]

    def _decide_locally(self, call: Call) -> Decided | Reference:
        """Decide by what this process knows, or give the reference about which the session service has to be asked."""
        reference = call.reference
        if call.refusal is not None:
            return call.refusal
        if reference is None or reference.kind is RuleKind.PASS:
            return _PASSED
        return self._sessions.decide_locally(reference) or reference

    async def _settle(self, references: Sequence[Reference], deadline: float) -> Mapping[Reference, Decided | None]:
        if len(references) == 1:
            return {references[0]: await self._sessions.make_sure(references[0], deadline)}
        sessions = self._sessions
        plans = await _each(references, lambda reference: sessions.plan(reference, deadline))
        first: dict[object, Reference] = {}
        for reference, plan in plans.items():
            # A missing session is created for one user; it cannot be created for another one then.
            is_there = isinstance(plan, Allow | Refusal)
            if not is_there and first.setdefault(reference.key, reference).user_id != reference.user_id:
                plans[reference] = owned_by_another(reference)
        if any(isinstance(plan, Refusal) for plan in plans.values()):
            return {reference: plan if isinstance(plan, Refusal) else None for reference, plan in plans.items()}
        return await _each(references, lambda reference: sessions.carry_out(reference, plans[reference], deadline))


async def _each(references: Sequence[Reference], step: Callable[[Reference], Awaitable[T]]) -> dict[Reference, T]:
    results: dict[Reference, T] = {}
    for start in range(0, len(references), _AT_ONCE):
        some = references[start : start + _AT_ONCE]
        results.update(zip(some, await asyncio.gather(*map(step, some)), strict=True))
    return results
