"""A guard with a real cache over fakes, and the readings that it is asked about."""

from __future__ import annotations

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decisions import Allow, OnEnded, Policy
from sidecar.guard.guard import Guard
from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.verdicts import Verdict
from sidecar.model import Call, Extraction, Grounds, Reason, Reference, RefusalFormat, Refusals, RuleKind
from sidecar.testing import Before, FakeClock, FakeDebts, FakeSessionService, FakeTelemetry


def write(session_id: str = "s-1", user: str | None = "ann", kind: RuleKind = RuleKind.ENSURE) -> Extraction:
    """A REST write to a session."""
    return Extraction(RefusalFormat.REST, (Call(Reference(session_id, user, kind)),))


class House:
    """A guard and all that it stands on."""

    def __init__(self, **policy) -> None:
        self.clock = FakeClock()
        self.service = FakeSessionService()
        self.telemetry = FakeTelemetry()
        self.debts = FakeDebts()
        self.known = SessionCache(
            1000, 300.0, ended_admits=policy.get("on_ended") is not OnEnded.REJECT, clock=self.clock
        )
        self.known.stream_up()
        debts = policy.pop("debts", self.debts)
        self.guard = Guard(self.known, self.service, self.telemetry, Policy(**{"timeout": 10.0, **policy}), debts)

    async def decide(self, reading: Extraction) -> Allow | Refusals:
        """What the guard decides, without what the permit is bound to."""
        decided = await self.guard.authorize(reading)
        return Allow(decided.grounds) if isinstance(decided, Permit) else decided

    def permit_known(self, reading: Extraction) -> Allow | None:
        """What the guard permits at once."""
        permit = self.guard.permit_known(reading)
        return None if permit is None else Allow(permit.grounds)

    def pass_through(self) -> Allow:
        """What the guard permits unread."""
        return Allow(self.guard.pass_through().grounds)

    def would_permit(self, reading: Extraction) -> bool:
        """Whether a permit for the reading, issued on any grounds, would still be valid."""
        return Permit(SEAL, Grounds.PASSED, reading, self.guard._recheck).still_valid()

    async def reason(self, reading: Extraction) -> Reason | None:
        """Why a reading is refused."""
        refused = await self.guard.authorize(reading)
        return refused.refusals[0].reason if isinstance(refused, Refusals) else None


def batch(*calls: Call | Reference) -> Extraction:
    """A batch of MCP calls."""
    return Extraction(RefusalFormat.BATCH, tuple(call if isinstance(call, Call) else Call(call) for call in calls))


def always(answer: Verdict) -> Before:
    """Make a fake session service give one answer to everything."""

    async def say(operation: str, reference: Reference) -> Verdict:
        return answer

    return say


def another_key(key: str) -> str:
    """Another session's id; keys share slots in which events are noted, and this one does not share that of `key`."""
    return next(other for n in range(4096) if (hash(other := f"{key}-{n}") - hash(key)) % 4096)
