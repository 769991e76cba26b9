"""Batches: all calls are decided before anything is created, and one refusal refuses all."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.guard.decisions import OnEnded
from sidecar.guard.outage_policy import OnOutage
from sidecar.model import (
    Allow,
    Call,
    Conflict,
    Gone,
    Grounds,
    Reason,
    Reference,
    Refusal,
    Refusals,
    RuleKind,
    SessionStatus,
    Unknown,
)
from tests.support.guard import House, always, batch, write

A = Reference("s-a", "ann")
B = Reference("s-b", "ann")
C = Reference("s-c", "ann")
REFUSAL = Refusal(Reason.INVALID_SESSION_ID, "It is no id.", "s x")


@pytest.fixture
def house():
    return House()


def reasons(decision: Allow | Refusals) -> list[Reason | None]:
    assert isinstance(decision, Refusals)
    return [refusal and refusal.reason for refusal in decision.refusals]


async def test_all_new_sessions_of_a_batch_are_looked_up_before_any_is_created(house):
    """First every look, then every create."""
    assert await house.decide(batch(A, B, C)) == Allow(Grounds.CREATED)
    assert house.service.asked == [("look", A), ("look", B), ("look", C), ("ensure", A), ("ensure", B), ("ensure", C)]
    assert house.telemetry.decisions == [("created", None)] * 3
    assert house.telemetry.references == [A, B, C]


async def test_only_what_is_absent_is_created(house):
    """What a look found is not made sure of again."""
    house.service.add("s-b", "ann")
    assert await house.decide(batch(A, B)) == Allow(Grounds.CREATED)
    assert [reference for operation, reference in house.service.asked if operation == "ensure"] == [A]
    assert house.telemetry.decisions == [("created", None), ("found", None)]


async def test_an_empty_batch_passes(house):
    """There is nothing in it to refuse, or to ask about."""
    assert await house.decide(batch()) == Allow(Grounds.PASSED)
    assert house.service.asked == []


async def test_a_known_session_is_counted_as_refused_with_its_batch(house):
    """Its call goes nowhere either."""
    await house.decide(write())
    known = Reference("s-1", "ann")
    decision = await house.decide(batch(known, Call(refusal=REFUSAL), Call()))
    assert reasons(decision) == [None, Reason.INVALID_SESSION_ID, None]
    assert house.telemetry.decisions[1:] == [
        ("refused", Reason.BATCH_REFUSED),
        ("refused", Reason.INVALID_SESSION_ID),
        ("refused", Reason.BATCH_REFUSED),
    ]


async def test_one_refusal_refuses_all_and_creates_nothing(house):
    """Another user's session in the batch: the others are refused with it, none is created."""
    house.service.add("s-b", "bob")
    decision = await house.decide(batch(A, B, C))
    assert reasons(decision) == [None, Reason.SESSION_OWNED_BY_ANOTHER_USER, None]
    assert {operation for operation, _ in house.service.asked} == {"look"}
    assert set(house.service.sessions) == {"s-b"}
    assert house.telemetry.decisions == [
        ("refused", Reason.BATCH_REFUSED),
        ("refused", Reason.SESSION_OWNED_BY_ANOTHER_USER),
        ("refused", Reason.BATCH_REFUSED),
    ]
    assert house.telemetry.references == [A, B, C]


async def test_what_the_reader_refused_spares_all_questions(house):
    """With one call refused already nothing is asked for the others."""
    decision = await house.decide(batch(A, Call(refusal=REFUSAL), Call()))
    assert reasons(decision) == [None, Reason.INVALID_SESSION_ID, None]
    assert house.service.asked == []


async def test_what_is_known_to_be_refused_spares_all_questions(house):
    """So does a call that this process can refuse by itself."""
    await house.decide(write("s-b", "bob"))
    house.service.asked.clear()
    assert reasons(await house.decide(batch(A, B))) == [None, Reason.SESSION_OWNED_BY_ANOTHER_USER]
    assert house.service.asked == []


async def test_a_session_named_often_is_asked_about_once(house):
    """Ten calls for one new session are one create."""
    assert await house.decide(batch(*[A] * 10)) == Allow(Grounds.CREATED)
    assert house.service.asked == [("ensure", A)]
    assert house.telemetry.decisions == [("created", None)] * 10


async def test_the_only_unknown_session_of_a_batch_is_made_sure_of_in_one_step(house):
    """When everything else is known there is nothing left to wait for."""
    await house.decide(write("s-a"))
    house.service.asked.clear()
    assert await house.decide(batch(A, B, Call())) == Allow(Grounds.CREATED)
    assert house.service.asked == [("ensure", B)]


async def test_one_session_for_two_users_is_refused(house):
    """A batch cannot make one session belong to two users; nobody is asked."""
    decision = await house.decide(batch(A, Reference("s-a", "bob")))
    assert reasons(decision) == [None, Reason.SESSION_OWNED_BY_ANOTHER_USER]
    assert house.service.asked == []


async def test_two_sessions_of_two_users_are_nobodys_conflict(house):
    """Users may share a batch, as long as they do not share a session."""
    assert await house.decide(batch(A, Reference("s-b", "bob"))) == Allow(Grounds.CREATED)
    assert {key: session.owner for key, session in house.service.sessions.items()} == {"s-a": "ann", "s-b": "bob"}


async def test_an_ended_session_refuses_a_batch_by_policy():
    """Found out by looking, like everything else in a batch."""
    house = House(on_ended=OnEnded.REJECT)
    house.service.add("s-b", "ann", SessionStatus.ENDED)
    assert reasons(await house.decide(batch(A, B))) == [None, Reason.SESSION_ENDED]


@pytest.mark.parametrize("silent", ["look", "ensure"])
async def test_everything_asked_for_one_batch_has_one_deadline(silent):
    """Looking or creating: a service that does not answer in time is an outage."""
    house = House(timeout=0.01)

    async def never(operation, reference):
        if operation == silent:
            await asyncio.Event().wait()

    house.service.before = never
    assert set(reasons(await house.decide(batch(A, B)))) == {Reason.SESSION_SERVICE_UNAVAILABLE}


async def test_a_batch_of_known_sessions_is_admitted_at_once(house):
    """Nothing is asked, and each call is counted."""
    await house.decide(batch(A, B))
    house.telemetry.decisions.clear()
    assert house.permit_known(batch(A, Call(), B)) == Allow(Grounds.KNOWN)
    assert house.telemetry.decisions == [("known", None), ("passed", None), ("known", None)]


async def test_a_batch_with_one_unknown_session_is_not_admitted_at_once(house):
    """Nor is anything counted for it yet."""
    await house.decide(write("s-a"))
    house.telemetry.decisions.clear()
    assert house.permit_known(batch(A, B)) is None
    assert house.permit_known(batch(A, Call(refusal=REFUSAL))) is None
    assert house.telemetry.decisions == []


@pytest.mark.parametrize("calls", [(), (Call(),), (Call(), Call(Reference("s-a", "ann", RuleKind.PASS)))])
async def test_a_batch_without_guarded_calls_passes(house, calls):
    """Nothing to guard, nothing to ask."""
    assert house.permit_known(batch(*calls)) == Allow(Grounds.PASSED)


async def test_a_required_session_that_is_missing_refuses_the_batch(house):
    """It is not created, nor is any other."""
    required = Reference("s-b", "ann", RuleKind.REQUIRE)
    assert reasons(await house.decide(batch(A, required))) == [None, Reason.SESSION_NOT_FOUND]
    assert house.service.sessions == {}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Gone(), Reason.SESSION_GONE),
        (Conflict(), Reason.SESSION_OWNED_BY_ANOTHER_USER),
        (Unknown("away"), Reason.SESSION_SERVICE_UNAVAILABLE),
    ],
)
async def test_what_goes_wrong_while_creating_refuses_the_batch(house, answer, reason):
    """What was absent a moment ago may be somebody else's now."""

    async def between(operation, reference):
        return answer if operation == "ensure" and reference == B else None

    house.service.before = between
    assert reasons(await house.decide(batch(A, B))) == [None, reason]


async def test_hundreds_of_sessions_are_asked_about_a_few_at_a_time(house):
    """A batch cannot flood the session service."""
    under_way, most = 0, 0

    async def count(operation, reference):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    house.service.before = count
    assert await house.decide(batch(*[Reference(f"s-{n}", "ann") for n in range(300)])) == Allow(Grounds.CREATED)
    assert len(house.service.sessions) == 300
    assert most == 16


async def test_in_an_outage_a_batch_is_owed_after_everything_is_decided():
    """Where debts are allowed each session is written down."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.before = always(Unknown("away"))
    assert await house.decide(batch(A, B)) == Allow(Grounds.OWED)
    assert list(house.debts.owed) == ["s-a", "s-b"]


async def test_in_an_outage_one_refusal_leaves_no_debt():
    """A call that may not go leaves nothing owed for the others."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.before = always(Unknown("away"))
    decision = await house.decide(batch(A, Reference("s-b", "ann", RuleKind.REQUIRE)))
    assert reasons(decision) == [None, Reason.SESSION_SERVICE_UNAVAILABLE]
    assert house.debts.owed == {}
