"""Races, made deterministic: single flight, cancelled leaders, two users for one id, answers overtaken by events."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.guard.decisions import Allow, OnEnded, OnOutage, Policy
from sidecar.guard.guard import Guard
from sidecar.guard.verdicts import Absent, Created, Found, Unknown
from sidecar.model import Grounds, Reason, Reference, Refusals, RuleKind, Session, SessionStatus
from tests.support.eventually import eventually
from tests.support.guard import House, always, another_key, batch, write


class Gate:
    """Holds every question to a fake session service until it is opened."""

    def __init__(self, house: House) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        house.service.before = self

    async def __call__(self, operation, reference):
        self.asked.set()
        await self.open.wait()


@pytest.fixture
async def house():
    house = House()
    yield house
    await house.guard.aclose()


async def test_a_thousand_first_writes_ask_once(house):
    """A thousand first writes cost one question; one is `created` and the others are `found`."""
    decisions = await asyncio.gather(*(house.decide(write()) for _ in range(1000)))
    assert len(house.service.asked) == 1
    assert decisions.count(Allow(Grounds.CREATED)) == 1
    assert decisions.count(Allow(Grounds.FOUND)) == 999


async def test_two_sidecars_leave_one_session_with_one_owner(house):
    """A thousand first writes by two users through two processes leave one session with one owner."""
    other = House()
    other.guard = Guard(other.known, house.service, other.telemetry, Policy(10.0))
    decisions = await asyncio.gather(
        *(one.decide(write(user=user)) for _ in range(250) for one in (house, other) for user in ("ann", "bob"))
    )
    assert sum(isinstance(one, Allow) for one in decisions) == 500
    assert decisions.count(Allow(Grounds.CREATED)) == 1
    assert house.service.sessions == {"s-1": Session("ann", SessionStatus.ACTIVE)}


async def test_two_users_racing_for_one_id_get_one_session_and_one_refusal(house):
    """Of two users in one single flight, one gets the session and the other a refusal."""
    ann, bob = await asyncio.gather(house.decide(write(user="ann")), house.decide(write(user="bob")))
    assert ann == Allow(Grounds.CREATED)
    assert isinstance(bob, Refusals)
    assert bob.refusals[0].reason is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert house.service.sessions["s-1"].owner == "ann"


async def test_a_conflict_of_one_user_says_nothing_of_another(house):
    """The owner of a session asks again where the leader of the flight was refused."""
    house.service.add("s-1", "bob")
    ann, bob = await asyncio.gather(house.decide(write(user="ann")), house.decide(write(user="bob")))
    assert isinstance(ann, Refusals)
    assert bob == Allow(Grounds.FOUND)


async def test_a_lookup_that_found_nothing_does_not_answer_a_write_that_creates(house):
    """A request that has to create does not take the answer of a look."""
    required, ensured = await asyncio.gather(
        house.decide(write(kind=RuleKind.REQUIRE)), house.decide(write(kind=RuleKind.ENSURE))
    )
    assert isinstance(required, Refusals)
    assert ensured == Allow(Grounds.CREATED)


async def test_lookups_of_one_user_that_wait_share_an_absence(house):
    """Of ten requests under `require` for an absent session nine wait, and share the second question."""
    await asyncio.gather(*(house.decide(write(user="ann", kind=RuleKind.REQUIRE)) for _ in range(10)))
    assert len(house.service.asked) == 2


async def test_an_absence_from_before_a_request_came_says_nothing_to_it(house):
    """A session that its client created while an earlier look-up was on its way back is found."""
    gate = Gate(house)
    house.service.before = None
    look = house.service.look

    async def look_and_wait(reference):
        answer = await look(reference)
        await gate(None, reference)
        return answer

    house.service.look = look_and_wait
    early = asyncio.create_task(house.reason(write(kind=RuleKind.REQUIRE)))
    await gate.asked.wait()
    house.service.add("s-1", "ann")
    late = asyncio.create_task(house.decide(write(kind=RuleKind.REQUIRE)))
    await asyncio.sleep(0)
    gate.open.set()
    assert await early is Reason.SESSION_NOT_FOUND
    assert await late == Allow(Grounds.FOUND)


async def test_an_absence_for_one_user_says_nothing_of_another(house):
    """A session service that looks within one user's sessions hides the session from one and shows it to its owner."""
    house.service.add("s-1", "bob")
    look = house.service.look

    async def look_within_the_users_own(reference):
        found = await look(reference)
        return found if reference.user_id == "bob" else Absent()

    house.service.look = look_within_the_users_own
    ann, bob = await asyncio.gather(*(house.decide(write(user=one, kind=RuleKind.REQUIRE)) for one in ("ann", "bob")))
    assert isinstance(ann, Refusals)
    assert bob == Allow(Grounds.FOUND)


async def test_writes_of_one_user_share_their_conflict(house):
    """Of ten writes of one user to another's session nine wait, and share the second question."""
    house.service.add("s-1", "bob")
    decisions = await asyncio.gather(*(house.decide(write(user="ann")) for _ in range(10)))
    assert all(isinstance(one, Refusals) for one in decisions)
    assert len(house.service.asked) == 2


async def test_an_outage_is_shared_too(house):
    """A thousand waiting writes ask a failing service once."""
    house.service.down = True
    await asyncio.gather(*(house.decide(write(user=user)) for user in ["ann", "bob"] * 10))
    assert len(house.service.asked) == 1


async def test_a_leader_who_goes_away_does_not_fail_those_who_wait(house):
    """The question goes on after its first caller was cancelled."""
    gate = Gate(house)
    leader = asyncio.create_task(house.decide(write()))
    await gate.asked.wait()
    follower = asyncio.create_task(house.decide(write()))
    await asyncio.sleep(0)
    leader.cancel()
    gate.open.set()
    assert await follower == Allow(Grounds.FOUND)
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert len(house.service.asked) == 1


async def test_when_everybody_goes_away_the_answer_is_still_remembered(house):
    """The answer is remembered although each caller was cancelled."""
    gate = Gate(house)
    leader = asyncio.create_task(house.decide(write()))
    await gate.asked.wait()
    leader.cancel()
    gate.open.set()
    await house.guard.aclose()
    assert house.permit_known(write()) == Allow(Grounds.KNOWN)


async def test_a_delete_that_overtakes_an_answer_wins(house):
    """An answer that is older than a deletion is neither cached nor believed."""
    house.service.add("s-1", "ann")
    first = True

    async def overtaken(operation, reference):
        nonlocal first
        if first:
            first = False
            house.service.add("s-1", "ann", SessionStatus.DELETED)
            house.known.deleted("s-1")
            return Found(Session("ann", SessionStatus.ACTIVE))
        return None

    house.service.before = overtaken
    assert await house.reason(write()) is Reason.SESSION_GONE
    assert house.permit_known(write()) is None
    assert len(house.service.asked) == 1


async def test_a_write_that_a_deletion_overtook_does_not_bring_the_session_back(house):
    """The session service is not asked again about a session whose deletion it may have no trace of."""

    async def overtaken(operation, reference):
        house.known.bury("s-1")
        return Found(Session("ann", SessionStatus.ACTIVE)) if len(house.service.asked) == 1 else None

    house.service.before = overtaken
    assert await house.reason(write()) is Reason.SESSION_GONE
    assert house.service.sessions == {}


async def test_a_reconnect_of_the_stream_overtakes_an_answer(house):
    """A session is asked about again where the stream reconnected meanwhile."""
    first = True

    async def overtaken(operation, reference):
        nonlocal first
        if first:
            first = False
            house.known.stream_down()
            house.known.stream_up()
            return Found(Session("ann", SessionStatus.ACTIVE))
        return None

    house.service.before = overtaken
    assert await house.decide(write()) == Allow(Grounds.CREATED)
    assert len(house.service.asked) == 2


@pytest.mark.parametrize("event", ["deleted", "ended"])
async def test_an_event_about_one_call_counts_while_another_waits_for_its_answer(event):
    """A call of a batch is decided again where its session was deleted while another call waited."""
    house = House(on_ended=OnEnded.REJECT)
    await house.decide(write("s-1"))
    gate = Gate(house)
    waiting = asyncio.create_task(house.decide(batch(Reference("s-1", "ann"), Reference("s-2", "ann"))))
    await gate.asked.wait()
    getattr(house.known, event)("s-1")
    gate.open.set()
    refused = await waiting
    assert isinstance(refused, Refusals)
    assert refused.refusals[0].reason is (Reason.SESSION_GONE if event == "deleted" else Reason.SESSION_ENDED)
    assert refused.refusals[1] is None


async def test_an_event_that_changes_nothing_for_a_waiting_batch_refuses_nothing(house):
    """A batch is permitted where an event meanwhile changes nothing for it."""
    await house.decide(write("s-1"))
    gate = Gate(house)
    waiting = asyncio.create_task(house.decide(batch(Reference("s-1", "ann"), Reference("s-2", "ann"))))
    await gate.asked.wait()
    house.known.ended("s-1")
    gate.open.set()
    assert isinstance(await waiting, Allow)
    assert [reference.session_id for _, reference in house.service.asked].count("s-1") == 1


async def test_a_batch_is_asked_about_anew_when_all_is_forgotten_while_it_waits(house):
    """A batch asks about its known session too where all was forgotten meanwhile."""
    await house.decide(write("s-1"))
    gate = Gate(house)
    waiting = asyncio.create_task(house.decide(batch(Reference("s-1", "ann"), Reference("s-2", "ann"))))
    await gate.asked.wait()
    house.service.asked.clear()
    house.known.forget_all()
    gate.open.set()
    assert await waiting == Allow(Grounds.FOUND)
    assert ("ensure", Reference("s-1", "ann")) in house.service.asked


async def test_a_batch_whose_sessions_are_forgotten_again_and_again_is_refused_for_now(house):
    """A batch whose sessions are forgotten three times is refused for now."""
    await house.decide(write("s-1"))
    house.service.asked.clear()

    async def forget_at_every_other_question(operation, reference):
        if len(house.service.asked) % 2:
            house.known.forget_all()

    house.service.before = forget_at_every_other_question
    refused = await house.decide(batch(Reference("s-1", "ann"), Reference("s-2", "ann")))
    assert _reason(refused) is Reason.SESSION_SERVICE_UNAVAILABLE
    assert any(
        one and one.detail.endswith(": something happened to it while the request was decided.")
        for one in refused.refusals
    )
    assert len(house.service.asked) == 6


async def test_a_batch_whose_debt_is_settled_while_it_waits_is_decided_anew():
    """A batch is decided again where the debt that permitted it was settled meanwhile."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.down = True
    owed = Reference("s-1", "ann")
    await house.debts.owe(owed)
    writing, written = _slow_disk(house)
    waiting = asyncio.create_task(house.decide(batch(owed, Reference("s-2", "ann"))))
    await writing.wait()
    await house.debts.settle(owed, Created(Session("ann", SessionStatus.ACTIVE)))
    written.set()
    assert await waiting == Allow(Grounds.OWED)
    assert list(house.debts.owed) == ["s-2", "s-1"]


async def test_a_debt_outlives_the_return_of_the_stream():
    """The return of the stream does not refuse a batch whose session is owed."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.down = True
    await house.decide(write("s-1"))
    owe = house.debts.owe

    async def slowly(reference):
        house.known.stream_down()
        house.known.stream_up()
        return await owe(reference)

    house.debts.owe = slowly
    assert await house.decide(batch(Reference("s-1", "ann"), Reference("s-2", "ann"))) == Allow(Grounds.OWED)
    await house.guard.aclose()


async def test_an_answer_that_is_overtaken_again_and_again_is_no_answer(house):
    """An answer that is overtaken three times is Unknown."""

    async def overtaken(operation, reference):
        house.known.ended("s-1")
        return Found(Session("ann", SessionStatus.ACTIVE))

    house.service.before = overtaken
    assert await house.reason(write()) is Reason.SESSION_SERVICE_UNAVAILABLE
    assert len(house.service.asked) == 3


async def test_an_event_about_another_session_overtakes_nothing(house):
    """An event about another session changes nothing for a question under way."""

    async def elsewhere(operation, reference):
        house.known.deleted(another_key("s-1"))

    house.service.before = elsewhere
    assert await house.decide(write()) == Allow(Grounds.CREATED)
    assert len(house.service.asked) == 1


async def test_a_write_that_waited_decides_by_what_became_known(house):
    """A write that waited is decided by what was remembered meanwhile."""
    await house.decide(write())
    await asyncio.gather(*(house.decide(write()) for _ in range(10)))
    assert len(house.service.asked) == 1


async def test_a_batch_and_a_single_write_for_one_session_create_it_once(house):
    """A batch and a single write for one session share one create."""
    two = batch(Reference("s-1", "ann"), Reference("s-2", "ann"))
    await asyncio.gather(house.decide(write()), house.decide(two))
    assert [reference.session_id for operation, reference in house.service.asked if operation == "ensure"] == [
        "s-1",
        "s-2",
    ]


async def test_two_users_owing_one_session_at_once_leave_one_claimant():
    """Of two users in an outage, the first whose debt is on disk is the claimant."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.down = True
    ann, bob = await asyncio.gather(house.decide(write(user="ann")), house.decide(write(user="bob")))
    assert ann == Allow(Grounds.OWED)
    assert isinstance(bob, Refusals)
    assert bob.refusals[0].reason is Reason.SESSION_OWNED_BY_ANOTHER_USER


async def test_a_thousand_writes_in_an_outage_are_one_debt():
    """A thousand writes in an outage cost one debt."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.down = True
    written = []
    owe = house.debts.owe

    async def counted(reference):
        written.append(reference)
        await asyncio.sleep(0)
        return await owe(reference)

    house.debts.owe = counted
    decisions = await asyncio.gather(*(house.decide(write()) for _ in range(1000)))
    assert set(decisions) == {Allow(Grounds.OWED)}
    assert len(written) == 1
    await house.guard.aclose()


async def test_an_answer_under_way_comes_before_debts():
    """While debts are unpaid nothing new is asked, but what will be said anyway is waited for, and may refuse a batch
    before anything is owed for its other calls."""
    house = House(on_outage=OnOutage.FORWARD)
    gate = Gate(house)
    ann = asyncio.create_task(house.decide(write(user="ann")))
    await gate.asked.wait()
    await house.debts.owe(Reference("s-2", "ann"))
    bob = asyncio.create_task(house.decide(batch(Reference("s-1", "bob"), Reference("s-9", "bob"))))
    await asyncio.sleep(0)
    gate.open.set()
    assert await ann == Allow(Grounds.CREATED)
    assert _reason(await bob) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert list(house.debts.owed) == ["s-2"]


async def test_nothing_is_owed_while_a_question_about_it_is_under_way():
    """A debt waits for the question under way, and takes its answer."""
    house = House(on_outage=OnOutage.FORWARD)
    bob, ann, answered = await _waiting_to_owe(house, "bob", None)
    answered.set()
    assert await ann == Allow(Grounds.CREATED)
    assert _reason(await bob) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert list(house.debts.owed) == ["s-9"]


async def test_whoever_waits_to_owe_owes_when_the_question_under_way_was_in_vain():
    """After a question in vain the debt is written, without one more question."""
    house = House(on_outage=OnOutage.FORWARD)
    two, one, answered = await _waiting_to_owe(house, "ann", Unknown("it is down"))
    answered.set()
    assert await one == await two == Allow(Grounds.OWED)


async def test_one_question_in_vain_is_enough_for_all_who_wait_for_it():
    """A request that only looks takes the Unknown of a request that would have created."""
    house = House()
    house.service.before = always(Unknown("it is down"))
    decided = await asyncio.gather(*(house.decide(write(kind=kind)) for kind in (RuleKind.ENSURE, RuleKind.REQUIRE)))
    assert [_reason(each) for each in decided] == [Reason.SESSION_SERVICE_UNAVAILABLE] * 2
    assert len(house.service.asked) == 1


async def test_of_two_users_whose_question_was_in_vain_one_owes():
    """Of two users after a question in vain, one owes and the other is refused."""
    house = House(on_outage=OnOutage.FORWARD)
    house.service.before = always(Unknown("it is down"))
    decided = await asyncio.gather(*(house.decide(write(user=user)) for user in ("ann", "bob")))
    assert decided[0] == Allow(Grounds.OWED)
    assert _reason(decided[1]) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert house.debts.owed == {"s-1": Reference("s-1", "ann")}
    assert len(house.service.asked) == 1


async def test_a_deletion_that_is_told_while_the_debt_is_written_down_refuses_all_who_wait():
    """A deletion that is told while a debt is written refuses each request that waits for it."""
    house = House(on_outage=OnOutage.FORWARD)
    writing, written = _slow_disk(house)
    house.service.down = True
    first = asyncio.create_task(house.decide(write()))
    await writing.wait()
    second = asyncio.create_task(house.decide(write()))
    await asyncio.sleep(0)
    house.known.deleted("s-1")
    house.clock.advance(1000)
    written.set()
    assert [_reason(await each) for each in (first, second)] == [Reason.SESSION_GONE] * 2


async def test_nothing_is_asked_while_its_debt_is_written_down():
    """No question is asked about a session while its debt is being written."""
    house = House(on_outage=OnOutage.FORWARD)
    writing, written = _slow_disk(house)
    house.service.down = True
    bob = asyncio.create_task(house.decide(write(user="bob")))
    await writing.wait()
    house.service.down = False
    ann = asyncio.create_task(house.decide(write(user="ann")))
    await asyncio.sleep(0)
    written.set()
    assert await bob == Allow(Grounds.OWED)
    assert _reason(await ann) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert [reference.user_id for _, reference in house.service.asked] == ["bob"]


async def _waiting_to_owe(house, user, answer):
    """A batch of `user`'s that has yet to owe s-1, and a write of ann's that asks for it until the event is set.

    None lets ann's question create the session.
    """
    held = {("look", "s-9"): asyncio.Event(), ("ensure", "s-1"): asyncio.Event()}

    async def say(operation, reference):
        if (operation, reference.session_id) in held:
            await held[operation, reference.session_id].wait()
        return answer if operation == "ensure" else Unknown("it is down")

    house.service.before = say
    owing = asyncio.create_task(house.decide(batch(Reference("s-1", user), Reference("s-9", user))))
    await _asked(house, ("look", "s-9"))
    asking = asyncio.create_task(house.decide(write(user="ann")))
    await _asked(house, ("ensure", "s-1"))
    held["look", "s-9"].set()
    await eventually(lambda: "s-9" in house.debts.owed)
    return owing, asking, held["ensure", "s-1"]


def _slow_disk(house):
    write_down, writing, written = house.debts.owe, asyncio.Event(), asyncio.Event()

    async def owe(reference):
        writing.set()
        await written.wait()
        return await write_down(reference)

    house.debts.owe = owe
    return writing, written


def _reason(decided):
    return decided.refusals[0].reason if isinstance(decided, Refusals) else None


async def _asked(house, question):
    asked = house.service.asked
    await eventually(lambda: question in [(operation, reference.session_id) for operation, reference in asked])
