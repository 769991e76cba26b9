"""Outages: what is refused, what is owed, and what a debt then decides."""

from __future__ import annotations

import pytest

from sidecar.guard.decisions import Allow, OnEnded, OnOutage
from sidecar.guard.verdicts import Absent, Conflict, Gone, Owed, Unknown, Untrustworthy
from sidecar.model import Grounds, Reason, Reference, Refusals, RuleKind, Session, SessionStatus
from tests.support.guard import House, always, batch, write


@pytest.fixture
def house():
    """A guard that forwards in an outage."""
    return House(on_outage=OnOutage.FORWARD)


async def test_by_default_an_outage_refuses_and_says_when_to_try_again():
    """Under `reject` an outage is a 503 with the service's own `Retry-After`, and nothing is owed."""
    house = House()
    house.service.before = always(Unknown("away", retry_after=7))
    refused = await house.decide(write())
    assert isinstance(refused, Refusals)
    assert refused.refusals[0].reason is Reason.SESSION_SERVICE_UNAVAILABLE
    assert refused.refusals[0].retry_after == 7
    assert house.debts.owed == {}


async def test_in_an_outage_the_debt_is_written_before_the_write_is_admitted(house):
    """Under `forward` the debt is on disk before the write is permitted as `owed`."""
    house.service.down = True
    assert await house.decide(write()) == Allow(Grounds.OWED)
    assert house.debts.owed == {"s-1": Reference("s-1", "ann")}
    assert house.telemetry.decisions == [("owed", None)]


async def test_a_disk_that_fails_is_an_outage_again(house):
    """Without the debt on disk the write is refused."""
    house.service.down = house.debts.broken = True
    refused = await house.decide(write())
    assert isinstance(refused, Refusals)
    assert refused.refusals[0].reason is Reason.SESSION_SERVICE_UNAVAILABLE
    assert "the fake disk is full" in refused.refusals[0].detail


async def test_lies_are_never_owed(house):
    """An untrustworthy answer is never owed."""
    house.service.before = always(Untrustworthy("lies"))
    assert await house.reason(write()) is Reason.SESSION_SERVICE_UNTRUSTWORTHY
    assert house.debts.owed == {}


async def test_a_session_that_is_only_required_is_never_owed(house):
    """A session under `require` is never owed."""
    house.service.down = True
    assert await house.reason(write(kind=RuleKind.REQUIRE)) is Reason.SESSION_SERVICE_UNAVAILABLE
    assert house.debts.owed == {}


async def test_an_owed_session_belongs_to_its_first_claimant(house):
    """The first claimant's writes are permitted without a question, and others' are refused, also after the outage."""
    house.service.down = True
    await house.decide(write(user="ann"))
    house.service.down = False
    house.service.asked.clear()
    assert await house.decide(write(user="ann")) == Allow(Grounds.OWED)
    assert await house.reason(write(user="bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert house.service.asked == []


async def test_nothing_new_is_owed_while_the_service_answers(house):
    """A debt affects its own session alone."""
    house.service.down = True
    await house.decide(write("s-1"))
    house.service.down = False
    assert await house.decide(write("s-2")) == Allow(Grounds.CREATED)
    house.service.add("s-3", "ann")
    assert await house.reason(write("s-3", "bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert list(house.debts.owed) == ["s-1"]


async def test_leftover_debts_are_minded_where_nothing_more_is_owed():
    """Under `reject`, debts from before still hold their sessions for their claimants."""
    house = House()
    await house.debts.owe(Reference("s-1", "ann"))
    assert await house.decide(write("s-1")) == Allow(Grounds.OWED)
    assert await house.reason(write("s-1", "bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert house.service.asked == []
    assert await house.decide(write("s-2")) == Allow(Grounds.CREATED)


async def test_a_debt_set_aside_admits_nobody_without_a_question(house):
    """The claimant of a debt that was set aside gets the service's answer, and others are refused."""
    house.service.down = True
    await house.decide(write())
    await house.debts.set_aside(Reference("s-1", "ann"), "it answered with another session")
    house.service.down = False
    house.service.before = always(Untrustworthy("lies"))
    assert await house.reason(write()) is Reason.SESSION_SERVICE_UNTRUSTWORTHY
    assert await house.reason(write(user="bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    house.service.before = None
    assert await house.decide(write()) == Allow(Grounds.CREATED)


async def test_a_debt_set_aside_is_a_claim_in_the_next_outage(house):
    """In the next outage a debt that was set aside refuses another user."""
    house.service.down = True
    await house.decide(write())
    await house.debts.set_aside(Reference("s-1", "ann"), "it answered with another session")
    assert await house.decide(write()) == Allow(Grounds.OWED)
    assert await house.reason(write(user="bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Conflict(), Reason.SESSION_OWNED_BY_ANOTHER_USER), (Gone(), Reason.SESSION_GONE)],
)
async def test_what_could_not_be_paid_is_not_owed_again(house, answer, reason):
    """A debt that could not be paid is not written again in the next outage."""
    house.service.down = True
    await house.decide(write())
    await house.debts.settle(Reference("s-1", "ann"), answer)
    assert await house.reason(write()) is reason
    assert house.debts.owed == {}


async def test_where_debts_cannot_be_read_nothing_new_is_admitted(house):
    """While debts cannot be read, a session that is not known is refused."""
    house.debts.claimant = lambda key: Unknown("the file cannot be read")
    assert await house.reason(write()) is Reason.SESSION_SERVICE_UNAVAILABLE
    assert house.service.asked == []


async def test_a_session_owed_while_a_batch_looks_is_not_created_for_another(house):
    """The claim on a session is looked at again right before each question."""
    asked = []

    async def say(operation: str, reference: Reference) -> Absent | None:
        if operation == "look" and not asked:
            asked.append(reference)
            await house.debts.owe(Reference("s-20", "ann"))
        return None

    house.service.before = say
    others = [Reference(f"s-{number}", "bob") for number in range(1, 21)]
    assert isinstance(await house.decide(batch(*others)), Refusals)
    assert "s-20" not in house.service.sessions


async def test_what_is_known_needs_no_service(house):
    """Known sessions are permitted through an outage."""
    await house.decide(write())
    house.service.down = True
    assert await house.decide(write()) == Allow(Grounds.KNOWN)
    assert house.debts.owed == {}


async def test_a_tombstone_refuses_however_old_it_is(house):
    """A tombstone that is too old to be believed refuses where the service gives no answer."""
    house.service.add("s-1", "ann", SessionStatus.DELETED)
    await house.decide(write())
    house.clock.advance(1000)
    house.service.down = True
    assert await house.reason(write()) is Reason.SESSION_GONE
    assert house.debts.owed == {}


async def test_another_owner_refuses_however_old_the_knowledge_is(house):
    """A session that was another user's is not owed to a new claimant."""
    await house.decide(write(user="ann"))
    house.clock.advance(1000)
    house.service.down = True
    assert await house.reason(write(user="bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert await house.decide(write(user="ann")) == Allow(Grounds.OWED)


async def test_what_was_known_last_refuses_without_debts_too():
    """Under `reject` too, old knowledge refuses for good, without `Retry-After`."""
    house = House()
    house.service.add("s-2", "ann", SessionStatus.DELETED)
    await house.decide(write("s-1", "ann"))
    await house.decide(write("s-2", "ann"))
    house.clock.advance(1000)
    house.service.down = True
    assert await house.reason(write("s-1", "bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert await house.reason(write("s-2", "ann")) is Reason.SESSION_GONE
    assert await house.reason(write("s-1", "ann")) is Reason.SESSION_SERVICE_UNAVAILABLE


async def test_an_end_refuses_however_old_it_is():
    """An old end refuses in an outage where the policy is `reject`."""
    house = House(on_outage=OnOutage.FORWARD, on_ended=OnEnded.REJECT)
    house.service.add("s-1", "ann", SessionStatus.ENDED)
    await house.decide(write())
    house.clock.advance(1000)
    house.service.down = True
    assert await house.reason(write()) is Reason.SESSION_ENDED


async def test_a_tombstone_outweighs_a_claim(house):
    """A tombstone refuses a claimant, however old it is."""
    house.service.down = True
    await house.decide(write())
    house.known.deleted("s-1")
    assert await house.reason(write()) is Reason.SESSION_GONE
    house.clock.advance(1000)
    assert await house.reason(write()) is Reason.SESSION_GONE


@pytest.mark.parametrize("during", ["the other look", "the writing of the debt"])
async def test_nobody_owes_a_session_that_became_known_as_anothers_meanwhile(during):
    """A debt is not written, or not used, for a session that became known as another user's meanwhile."""
    house = House(on_outage=OnOutage.FORWARD)

    def learn() -> None:
        house.known.remember("s-1", Session("ann", SessionStatus.ACTIVE), house.known.ticket())

    async def say(operation: str, reference: Reference) -> Unknown:
        if reference.session_id == "s-2" and during == "the other look":
            learn()
        return Unknown("it is down")

    write_down = house.debts.owe

    async def owe(reference: Reference) -> Owed:
        owed = await write_down(reference)
        learn()
        return owed

    house.service.before = say
    if during == "the writing of the debt":
        house.debts.owe = owe
    # Sixteen are asked about at a time, so the last one only after the first has been answered.
    others = [Reference(f"s-{number}", "ann") for number in (*range(3, 18), 2)]
    decided = await house.decide(batch(Reference("s-1", "bob"), *others))
    assert isinstance(decided, Refusals)
    assert decided.refusals[0].reason is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert ("s-1" in house.debts.owed) == (during == "the writing of the debt")
