"""The guard: no request is forwarded without its permit, and each permit names the grounds on which it was issued.

The cache answers at once for the sessions that it knows; about the others the `Decider` decides. The guard of mode
`off` permits every request; `shadow` has the one of that mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mypy_extensions import mypyc_attr

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decider import Decided, Decider
from sidecar.guard.decisions import LAPSED, Allow, OnOutage, Policy
from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.ports import Debts, SessionService, Telemetry
from sidecar.model import Call, Extraction, Grounds, Reason, Refusal, Refusals, RuleKind

_PASSED: Final = Allow(Grounds.PASSED)
_KNOWN: Final = Allow(Grounds.KNOWN)
_UNGUARDED: Final = Permit(SEAL, Grounds.PASSED)

_EVENTFUL: Final = (Grounds.PASSED, Grounds.KNOWN, Grounds.FOUND, Grounds.CREATED, Grounds.OWED)
"""A batch is admitted on the last of these that any of its calls was."""

_MOST_LAPSES: Final = 3
"""How often the permit of one request may lapse before the request is refused for now."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ImmediateGuard:
    """The part of a guard of any mode that answers at once."""

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        raise NotImplementedError

    def permit_known(self, extraction: Extraction) -> Permit | None:
        """Permit what needs no question; None leaves the request to the application."""
        raise NotImplementedError


class OpenGuard(ImmediateGuard):
    """The guard of mode `off`: it permits every request, and counts it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        self._telemetry.decided("passed")
        return _UNGUARDED

    def permit_known(self, extraction: Extraction) -> Permit:  # noqa: ARG002 # mode `off` decides nothing
        """Permit every request."""
        return self.pass_through()


class Guard(ImmediateGuard):
    """Decides requests.

    `debts` are consulted wherever they are given; outages may be forwarded only with them (ValueError otherwise).
    """

    def __init__(
        self,
        known: SessionCache,
        service: SessionService,
        telemetry: Telemetry,
        policy: Policy,
        debts: Debts | None = None,
    ) -> None:
        if policy.on_outage is OnOutage.FORWARD and debts is None:
            raise ValueError("forwarding in an outage needs a journal of debts")
        self._known = known
        self._decider = Decider(known, service, policy, debts)
        self._telemetry = telemetry
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
        return Permit(SEAL, Grounds.KNOWN, extraction, self._recheck)

    async def authorize(self, extraction: Extraction, lapses: int = 0) -> Permit | Refusals:
        """Decide every call of a request. One refusal refuses all of them, and then no session was created.

        `lapses` is how often a permit of this request has lapsed before it was used; too often, and it is refused.
        """
        decisions: list[Decided | None] = [LAPSED] * len(extraction.calls)
        if lapses < _MOST_LAPSES:
            decisions = await self._decider.decide(extraction.calls)
        allowed = [decision for decision in decisions if isinstance(decision, Allow)]
        if len(allowed) == len(decisions):
            return self._permit(extraction, allowed)
        record_decisions(self._telemetry, extraction.calls, decisions)
        return Refusals(tuple(decision if isinstance(decision, Refusal) else None for decision in decisions))

    async def aclose(self) -> None:
        """Wait for what is being asked or written down."""
        await self._decider.aclose()

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
        return self._permit(extraction, allowed)

    def _permit(self, extraction: Extraction, allowed: Sequence[Allow]) -> Permit:
        """Permit a request of which every call is allowed."""
        record_decisions(self._telemetry, extraction.calls, allowed)
        grounds = max((decision.grounds for decision in allowed), key=_EVENTFUL.index, default=Grounds.PASSED)
        return Permit(SEAL, grounds, extraction, self._recheck)

    def _would_permit(self, extraction: Extraction) -> bool:
        return all(isinstance(self._decider.decide_locally(call), Allow) for call in extraction.calls)


def record_decisions(
    telemetry: Telemetry, calls: Sequence[Call], decisions: Sequence[Allow | Refusal | None], prefix: str = ""
) -> None:
    """Count the decision of every call, in order.

    None is a call that was not decided, because another was refused: it counts as refused too.
    """
    refused = any(isinstance(decision, Refusal) for decision in decisions)
    for call, decision in zip(calls, decisions, strict=True):
        if isinstance(decision, Refusal):
            telemetry.decided(f"{prefix}refused", decision.reason, call.reference, decision.detail)
        elif refused or decision is None:
            telemetry.decided(f"{prefix}refused", Reason.BATCH_REFUSED, call.reference)
        else:
            telemetry.decided(f"{prefix}{decision.grounds.value}", None, call.reference)
