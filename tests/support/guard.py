"""A guard with a real cache over fakes, and the readings that it is asked about."""

from __future__ import annotations

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decisions import OnEnded
from sidecar.guard.guard import Guard
from sidecar.model import Call, Extraction, Reason, Reference, RefusalFormat, Refusals, RuleKind, Verdict
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
        self.guard = Guard(self.known, self.service, self.telemetry, **{"debts": self.debts, "timeout": 10.0, **policy})

    async def reason(self, reading: Extraction) -> Reason | None:
        """Why a reading is refused."""
        refused = await self.guard.decide(reading)
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
