"""Shadow mode: lookups on the side, nothing created, nobody kept waiting."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decisions import OnEnded, OnOutage, Policy
from sidecar.guard.shadow import ROOM, ShadowGuard
from sidecar.guard.verdicts import Unknown, Untrustworthy
from sidecar.model import (
    Call,
    Extraction,
    Grounds,
    Reason,
    Reference,
    Refusal,
    RefusalFormat,
    RuleKind,
    Session,
    SessionStatus,
)
from sidecar.testing import FakeClock, FakeSessionService, FakeTelemetry
from tests.support.guard import House as EnforcingHouse
from tests.support.guard import always, batch, write


class House:
    def __init__(self, *, creates: bool = True, room: int = ROOM, **policy) -> None:
        self.service = FakeSessionService()
        self.telemetry = FakeTelemetry()
        self.clock = FakeClock()
        self.known = SessionCache(100, 300.0, clock=self.clock)
        self.shadow = ShadowGuard(
            self.known,
            self.service,
            self.telemetry,
            Policy(**{"timeout": 10.0, **policy}),
            creates=creates,
            room=room,
        )

    async def would(self, reading: Extraction) -> list[tuple[str, Reason | None]]:
        """What shadow mode says of a reading."""
        self.telemetry.decisions.clear()
        self.shadow.observe(reading)
        assert self.telemetry.decisions == []
        await self.shadow.drained()
        return self.telemetry.decisions


@pytest.fixture
async def house():
    house = House()
    yield house
    await house.shadow.aclose()


async def test_a_first_write_would_have_created_its_session(house):
    """The service is looked at, and the decision is counted as `shadow_created`."""
    assert await house.would(write()) == [("shadow_created", None)]
    assert house.service.asked == [("look", Reference("s-1", "ann"))]
    assert house.service.sessions == {}


async def test_what_is_found_is_known_the_next_time(house):
    """A session that was found is known to the next request."""
    house.service.add("s-1", "ann")
    assert await house.would(write()) == [("shadow_found", None)]
    assert await house.would(write()) == [("shadow_known", None)]
    assert len(house.service.asked) == 1


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (write("s-bobs"), Reason.SESSION_OWNED_BY_ANOTHER_USER),
        (write("s-gone"), Reason.SESSION_GONE),
        (write(kind=RuleKind.REQUIRE), Reason.SESSION_NOT_FOUND),
        (
            Extraction(RefusalFormat.REST, (Call(refusal=Refusal(Reason.AMBIGUOUS_PATH, "Two ways.")),)),
            Reason.AMBIGUOUS_PATH,
        ),
    ],
)
async def test_what_would_have_been_refused(house, reading, reason):
    """Each refusal is counted under its reason."""
    house.service.add("s-bobs", "bob")
    house.service.add("s-gone", "ann", SessionStatus.DELETED)
    assert await house.would(reading) == [("shadow_refused", reason)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Unknown("away"), Reason.SESSION_SERVICE_UNAVAILABLE),
        (Untrustworthy("lies"), Reason.SESSION_SERVICE_UNTRUSTWORTHY),
    ],
)
async def test_an_outage_or_a_lie_is_what_it_would_have_been(house, answer, reason):
    """An outage and an untrustworthy answer are counted under their reasons."""
    house.service.before = always(answer)
    assert await house.would(write()) == [("shadow_refused", reason)]


async def test_ended_sessions_follow_the_policy():
    """A write to an ended session is counted by the policy."""
    house = House(on_ended=OnEnded.REJECT)
    house.service.add("s-1", "ann", SessionStatus.ENDED)
    for _ in range(2):
        assert await house.would(write()) == [("shadow_refused", Reason.SESSION_ENDED)]
    await house.shadow.aclose()


async def test_what_no_rule_guards_would_have_passed(house):
    """A request that no rule guards is counted as passed, read or unread."""
    assert await house.would(Extraction(RefusalFormat.REST, (Call(),))) == [("shadow_passed", None)]
    assert await house.would(write(kind=RuleKind.PASS)) == [("shadow_passed", None)]
    house.telemetry.decisions.clear()
    assert house.shadow.pass_through().grounds is Grounds.PASSED
    assert house.telemetry.decisions == [("shadow_passed", None)]


async def test_one_refusal_would_have_refused_the_batch(house):
    """One refusal counts each call of the batch as refused."""
    house.service.add("s-2", "bob")
    assert await house.would(batch(Reference("s-1", "ann"), Reference("s-2", "ann"))) == [
        ("shadow_refused", Reason.BATCH_REFUSED),
        ("shadow_refused", Reason.SESSION_OWNED_BY_ANOTHER_USER),
    ]


KNOWN = {
    "another's": Session("bob", SessionStatus.ACTIVE),
    "deleted": Session(None, SessionStatus.DELETED),
    "ended": Session("ann", SessionStatus.ENDED),
    "active": Session("ann", SessionStatus.ACTIVE),
}
INVALID = Call(refusal=Refusal(Reason.INVALID_SESSION_ID, "No id."))
REQUESTS = {
    "a write": write(),
    "a write that requires its session": write(kind=RuleKind.REQUIRE),
    "a write beside an unreadable call": batch(INVALID, Reference("s-1", "ann")),
    "writes of two users to one session": batch(Reference("s-1", "ann"), Reference("s-1", "bob")),
    "a write beside one to a session of its own": batch(Reference("s-1", "ann"), Reference("s-2", "ann")),
}


@pytest.mark.parametrize("on_ended", OnEnded)
@pytest.mark.parametrize("on_outage", OnOutage)
@pytest.mark.parametrize("state", ["present", "absent", "never created", "down"])
@pytest.mark.parametrize("last_known", [None, *KNOWN])
@pytest.mark.parametrize("request_of", REQUESTS)
async def test_the_forecast_is_what_enforcement_decides(request_of, last_known, state, on_outage, on_ended):
    """What is counted is what the guard counts that enforces, whatever was known before, also in an outage."""
    policy = {"on_outage": on_outage, "on_ended": on_ended}
    enforcing, shadowing = EnforcingHouse(**policy), House(**policy, creates=state != "never created")
    for house in (enforcing, shadowing):
        house.service.creates = state != "never created"
        house.service.down = state == "down"
        if state == "present":
            house.service.add("s-1", "ann")
        if last_known is not None:
            house.known.remember("s-1", KNOWN[last_known], house.known.ticket())
            house.clock.advance(400.0)
    await enforcing.decide(REQUESTS[request_of])
    expected = [(f"shadow_{decision}", reason) for decision, reason in enforcing.telemetry.decisions]
    assert await shadowing.would(REQUESTS[request_of]) == expected
    assert {operation for operation, _ in shadowing.service.asked} <= {"look"}
    await shadowing.shadow.aclose()


async def test_what_finds_no_room_is_dropped_and_counted():
    """A request that finds the queue full is counted as dropped, and forwarded."""
    house = House(room=3)
    opened = asyncio.Event()

    async def wait(operation, reference):
        await opened.wait()

    house.service.before = wait
    for n in range(10):
        house.shadow.observe(write(f"s-{n}"))
        assert house.shadow.permit_unread().grounds is Grounds.PASSED
    assert house.telemetry.notes == [("shadow_dropped",)] * 7
    opened.set()
    await house.shadow.drained()
    assert house.telemetry.decisions == [("shadow_created", None)] * 3
    await house.shadow.aclose()


async def test_a_silent_service_has_a_deadline_here_too():
    """A question that is never answered ends at its deadline."""
    house = House(timeout=0.01)

    async def never(operation, reference):
        await asyncio.Event().wait()

    house.service.before = never
    assert await house.would(write()) == [("shadow_refused", Reason.SESSION_SERVICE_UNAVAILABLE)]


async def test_closing_leaves_undecided_what_still_waits(house):
    """Closing ends the workers and leaves what waits undecided."""
    for n in range(50):
        house.shadow.observe(write(f"s-{n}"))
    await house.shadow.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(house.service.asked) < 50


async def test_closing_what_was_never_used_asks_nothing(house):
    """Closing a guard that was never used leaves no task."""
    await house.shadow.aclose()
    assert house.service.asked == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
