"""A guard with a real cache over fakes, and the readings that it is asked about."""

from __future__ import annotations

from sidecar.backends.known import Known
from sidecar.core.decide import OnEnded
from sidecar.core.model import Answer, Call, Kind, Reading, Reason, Reference, Refused, Shape
from sidecar.guard import Guard
from sidecar.testing import Before, FakeClock, FakeDebts, FakeSessionService, FakeTelemetry


def write(session_id: str = "s-1", user: str | None = "ann", kind: Kind = Kind.ENSURE) -> Reading:
    """A REST write to a session."""
    return Reading(Shape.REST, (Call(Reference(session_id, user, kind)),))


class House:
    """A guard and all that it stands on."""

    def __init__(self, **policy) -> None:
        self.clock = FakeClock()
        self.service = FakeSessionService()
        self.telemetry = FakeTelemetry()
        self.debts = FakeDebts()
        self.known = Known(1000, 300.0, ended_admits=policy.get("on_ended") is not OnEnded.REJECT, clock=self.clock)
        self.known.stream_up()
        self.guard = Guard(self.known, self.service, self.telemetry, **{"debts": self.debts, "timeout": 10.0, **policy})

    async def reason(self, reading: Reading) -> Reason | None:
        """Why a reading is refused."""
        refused = await self.guard.decide(reading)
        return refused.refusals[0].reason if isinstance(refused, Refused) else None


def batch(*calls: Call | Reference) -> Reading:
    """A batch of MCP calls."""
    return Reading(Shape.BATCH, tuple(call if isinstance(call, Call) else Call(call) for call in calls))


def always(answer: Answer) -> Before:
    """Make a fake session service give one answer to everything."""

    async def say(operation: str, reference: Reference) -> Answer:
        return answer

    return say


def another_key(key: str) -> str:
    """Another session's id; keys share slots in which events are noted, and this one does not share that of `key`."""
    return next(other for n in range(4096) if (hash(other := f"{key}-{n}") - hash(key)) % 4096)
