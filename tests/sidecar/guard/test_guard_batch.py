"""Batches: all calls are decided before anything is created, and one refusal refuses all."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.guard.decisions import Allow, OnEnded, OnOutage
from sidecar.guard.verdicts import Conflict, Found, Gone, Unknown
from sidecar.model import UNOWNED, Call, Grounds, Reason, Reference, Refusal, Refusals, RuleKind, Session, SessionStatus
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
    """In a batch each look comes before the first create."""
    assert await house.decide(batch(A, B, C)) == Allow(Grounds.CREATED)
    assert house.service.asked == [("look", A), ("look", B), ("look", C), ("ensure", A), ("ensure", B), ("ensure", C)]
    assert house.telemetry.decisions == [("created", None)] * 3
    assert house.telemetry.references == [A, B, C]


async def test_only_what_is_absent_is_created(house):
    """A session that the look found is not ensured again."""
    house.service.add("s-b", "ann")
    assert await house.decide(batch(A, B)) == Allow(Grounds.CREATED)
    assert [reference for operation, reference in house.service.asked if operation == "ensure"] == [A]
    assert house.telemetry.decisions == [("created", None), ("found", None)]


async def test_an_empty_batch_passes(house):
    """An empty batch is permitted without a question."""
    assert await house.decide(batch()) == Allow(Grounds.PASSED)
    assert house.service.asked == []


async def test_a_known_session_is_counted_as_refused_with_its_batch(house):
    """A known session's call is counted as refused with its batch."""
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
    """One refusal refuses each call of a batch, and no session is created."""
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
    """After a refusal by the extractor no question is asked."""
    decision = await house.decide(batch(A, Call(refusal=REFUSAL), Call()))
    assert reasons(decision) == [None, Reason.INVALID_SESSION_ID, None]
    assert house.service.asked == []


async def test_what_is_known_to_be_refused_spares_all_questions(house):
    """After a refusal that needs no question, none is asked."""
    await house.decide(write("s-b", "bob"))
    house.service.asked.clear()
    assert reasons(await house.decide(batch(A, B))) == [None, Reason.SESSION_OWNED_BY_ANOTHER_USER]
    assert house.service.asked == []


async def test_a_session_named_often_is_asked_about_once(house):
    """Ten calls for one new session cost one create."""
    assert await house.decide(batch(*[A] * 10)) == Allow(Grounds.CREATED)
    assert house.service.asked == [("ensure", A)]
    assert house.telemetry.decisions == [("created", None)] * 10


async def test_the_only_unknown_session_of_a_batch_is_made_sure_of_in_one_step(house):
    """A single unknown session is ensured in one step."""
    await house.decide(write("s-a"))
    house.service.asked.clear()
    assert await house.decide(batch(A, B, Call())) == Allow(Grounds.CREATED)
    assert house.service.asked == [("ensure", B)]


async def test_one_session_for_two_users_is_refused(house):
    """A batch that names one missing session for two users is refused, and the session is created for neither."""
    decision = await house.decide(batch(A, Reference("s-a", "bob")))
    assert reasons(decision) == [None, Reason.SESSION_OWNED_BY_ANOTHER_USER]
    assert house.service.sessions == {}


async def test_one_session_without_an_owner_takes_two_users_in_one_batch(house):
    """A session that belongs to no user is no conflict between two users of a batch."""
    house.service.before = always(Found(Session(UNOWNED, SessionStatus.ACTIVE)))
    assert await house.decide(batch(A, Reference("s-a", "bob"))) == Allow(Grounds.FOUND)


async def test_two_sessions_of_two_users_are_nobodys_conflict(house):
    """A batch may name sessions of several users."""
    assert await house.decide(batch(A, Reference("s-b", "bob"))) == Allow(Grounds.CREATED)
    assert {key: session.owner for key, session in house.service.sessions.items()} == {"s-a": "ann", "s-b": "bob"}


async def test_an_ended_session_refuses_a_batch_by_policy():
    """A batch is refused where a look finds an ended session and the policy is `reject`."""
    house = House(on_ended=OnEnded.REJECT)
    house.service.add("s-b", "ann", SessionStatus.ENDED)
    assert reasons(await house.decide(batch(A, B))) == [None, Reason.SESSION_ENDED]


@pytest.mark.parametrize("silent", ["look", "ensure"])
async def test_everything_asked_for_one_batch_has_one_deadline(silent):
    """Looks and creates of a batch share one deadline."""
    house = House(timeout=0.01)

    async def never(operation, reference):
        if operation == silent:
            await asyncio.Event().wait()

    house.service.before = never
    assert set(reasons(await house.decide(batch(A, B)))) == {Reason.SESSION_SERVICE_UNAVAILABLE}


async def test_a_batch_of_known_sessions_is_admitted_at_once(house):
    """A batch of known sessions is permitted without a question, and each call is counted."""
    await house.decide(batch(A, B))
    house.telemetry.decisions.clear()
    assert house.permit_known(batch(A, Call(), B)) == Allow(Grounds.KNOWN)
    assert house.telemetry.decisions == [("known", None), ("passed", None), ("known", None)]


async def test_a_batch_with_one_unknown_session_is_not_admitted_at_once(house):
    """A batch with an unknown session is not permitted at once, and nothing is counted yet."""
    await house.decide(write("s-a"))
    house.telemetry.decisions.clear()
    assert house.permit_known(batch(A, B)) is None
    assert house.permit_known(batch(A, Call(refusal=REFUSAL))) is None
    assert house.telemetry.decisions == []


async def test_a_batch_is_looked_up_once(house):
    """The figures of the cache count one look for each call, although the fast path asks before the guard decides."""
    assert house.permit_known(batch(A, B)) is None
    await house.decide(batch(A, B))
    assert (house.known.hits, house.known.misses) == (0, 2)


@pytest.mark.parametrize("calls", [(), (Call(),), (Call(), Call(Reference("s-a", "ann", RuleKind.PASS)))])
async def test_a_batch_without_guarded_calls_passes(house, calls):
    """A batch that names no session is permitted without a question."""
    assert house.permit_known(batch(*calls)) == Allow(Grounds.PASSED)


async def test_a_required_session_that_is_missing_refuses_the_batch(house):
    """A missing session under `require` refuses the batch, and no session is created."""
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
    """A batch is refused where a create is answered with a conflict or a failure."""

    async def between(operation, reference):
        return answer if operation == "ensure" and reference == B else None

    house.service.before = between
    assert reasons(await house.decide(batch(A, B))) == [None, reason]


async def test_hundreds_of_sessions_are_asked_about_a_few_at_a_time(house):
    """The sessions of a batch are asked about a few at a time."""
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
    """In an outage under `forward`, a debt is written for each session of the batch."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.before = always(Unknown("away"))
    assert await house.decide(batch(A, B)) == Allow(Grounds.OWED)
    assert list(house.debts.owed) == ["s-a", "s-b"]


async def test_in_an_outage_one_refusal_leaves_no_debt():
    """In an outage a batch with one refusal leaves no debt."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.before = always(Unknown("away"))
    decision = await house.decide(batch(A, Reference("s-b", "ann", RuleKind.REQUIRE)))
    assert reasons(decision) == [None, Reason.SESSION_SERVICE_UNAVAILABLE]
    assert house.debts.owed == {}
