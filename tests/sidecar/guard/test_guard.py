"""The guard over fakes: every ground on which it admits or refuses a single write."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.guard.decisions import Allow, OnEnded, OnOutage, Policy
from sidecar.guard.guard import Guard
from sidecar.guard.permit import Permit
from sidecar.guard.verdicts import Conflict, Gone, Unknown, Untrustworthy
from sidecar.model import (
    Call,
    Extraction,
    Grounds,
    Reason,
    Reference,
    Refusal,
    RefusalFormat,
    Refusals,
    RuleKind,
    Session,
    SessionStatus,
)
from tests.support.guard import House, always, batch, write

REFUSAL = Refusal(Reason.UNREADABLE_BODY, "It cannot be read.")


@pytest.fixture
def house():
    return House()


async def test_a_first_write_creates_its_session_in_one_question(house):
    """A first write costs one `ensure` and is permitted as `created`."""
    assert await house.decide(write()) == Allow(Grounds.CREATED)
    assert house.service.asked == [("ensure", Reference("s-1", "ann"))]
    assert house.service.sessions["s-1"] == Session("ann", SessionStatus.ACTIVE)
    assert house.telemetry.decisions == [("created", None)]


async def test_the_second_write_is_known_and_asks_nobody(house):
    """A session that was created is known to the next write."""
    await house.decide(write())
    assert house.permit_known(write()) == Allow(Grounds.KNOWN)
    assert await house.decide(write()) == Allow(Grounds.KNOWN)
    assert len(house.service.asked) == 1
    assert house.telemetry.decisions[1:] == [("known", None)] * 2
    assert house.telemetry.references == [Reference("s-1", "ann")] * 3


async def test_a_session_that_was_there_is_found(house):
    """A session that was found is permitted and remembered."""
    house.service.add("s-1", "ann")
    assert await house.decide(write()) == Allow(Grounds.FOUND)
    assert house.permit_known(write()) == Allow(Grounds.KNOWN)


async def test_what_is_unknown_is_not_admitted_without_a_question(house):
    """`permit_known` gives None for a session that it does not know."""
    assert house.permit_known(write()) is None
    assert house.telemetry.decisions == []


async def test_a_permit_is_bound_to_what_it_permits(house):
    """A permit carries the references of its request, and holds as long as it would be issued again."""
    permit = await house.guard.authorize(write())
    assert permit.references == (Reference("s-1", "ann"),)
    assert permit.still_valid()
    house.known.deleted("s-1")
    assert not permit.still_valid()
    assert repr(permit) == "<Permit created: ensure s-1 of ann>"


@pytest.mark.parametrize("seal", [None, object(), "seal"])
def test_only_a_guard_issues_a_permit(seal):
    """The constructor of a permit demands the seal of the guard's package."""
    with pytest.raises(TypeError, match=r"^only a guard issues a permit$"):
        Permit(seal, Grounds.KNOWN)


def test_a_permit_for_what_no_rule_looks_at_names_nothing_and_stays_valid(house):
    """A permit for a request that no rule looks at names no session and always holds."""
    permit = house.guard.pass_through()
    assert (permit.references, permit.still_valid()) == ((), True)


async def test_a_known_session_does_not_admit_another_user(house):
    """The owner is compared on each hit, and the refusal needs no question."""
    await house.decide(write(user="ann"))
    assert house.permit_known(write(user="bob")) is None
    assert await house.reason(write(user="bob")) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert len(house.service.asked) == 1
    assert house.telemetry.decisions[-1] == ("refused", Reason.SESSION_OWNED_BY_ANOTHER_USER)
    assert house.telemetry.references[-1] == Reference("s-1", "bob")


@pytest.mark.parametrize(
    "reading",
    [Extraction(RefusalFormat.REST, (Call(),)), write(kind=RuleKind.PASS), write(user=None, kind=RuleKind.PASS)],
)
async def test_what_no_rule_guards_passes(house, reading):
    """A request without a reference, or under `pass`, is permitted without a question."""
    assert house.permit_known(reading) == Allow(Grounds.PASSED)
    assert await house.decide(reading) == Allow(Grounds.PASSED)
    assert house.service.asked == []
    assert house.telemetry.decisions == [("passed", None)] * 2


async def test_the_door_can_admit_what_no_rule_looks_at(house):
    """`pass_through` gives the permit for requests that are not read, and counts them."""
    assert house.pass_through() == Allow(Grounds.PASSED)
    assert house.telemetry.decisions == [("passed", None)]


@pytest.mark.parametrize(
    ("reading", "still_valid"),
    [
        (write("known"), True),
        (write("known", "bob"), False),
        (write("gone"), False),
        (write("unknown"), False),
        (write("owed"), True),
        (write("owed", "bob"), False),
        (batch(Reference("known", "ann"), Reference("owed", "ann")), True),
        (batch(Reference("known", "ann"), Reference("gone", "ann")), False),
        (batch(Call(), Reference("unknown", "ann", RuleKind.PASS)), True),
    ],
)
async def test_an_admit_stands_as_long_as_it_would_be_given_at_once(house, reading, still_valid):
    """A permit is checked by what is known or owed, without a question and without counting."""
    house.known.remember("known", Session("ann", SessionStatus.ACTIVE), house.known.ticket())
    house.known.deleted("gone")
    await house.debts.owe(Reference("owed", "ann"))
    assert house.would_permit(reading) is still_valid
    assert (house.service.asked, house.telemetry.decisions) == ([], [])


async def test_what_the_reader_refused_stays_refused(house):
    """The extractor's refusal is passed on as it is."""
    reading = Extraction(RefusalFormat.REST, (Call(refusal=REFUSAL),))
    assert house.permit_known(reading) is None
    assert await house.decide(reading) == Refusals((REFUSAL,))
    assert house.telemetry.decisions == [("refused", Reason.UNREADABLE_BODY)]
    assert house.service.asked == []


async def test_a_required_session_is_looked_up_and_never_created(house):
    """A `require` rule refuses a missing session and never creates it."""
    assert await house.reason(write(kind=RuleKind.REQUIRE)) is Reason.SESSION_NOT_FOUND
    assert house.service.asked == [("look", Reference("s-1", "ann", RuleKind.REQUIRE))]
    assert house.service.sessions == {}


async def test_a_required_session_that_exists_is_found(house):
    """A `require` rule permits a write to a session that exists."""
    house.service.add("s-1", "ann")
    assert await house.decide(write(kind=RuleKind.REQUIRE)) == Allow(Grounds.FOUND)
    assert house.permit_known(write(kind=RuleKind.REQUIRE)) == Allow(Grounds.KNOWN)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Conflict(), Reason.SESSION_OWNED_BY_ANOTHER_USER),
        (Gone(), Reason.SESSION_GONE),
        (Unknown("away"), Reason.SESSION_SERVICE_UNAVAILABLE),
        (Untrustworthy("lies"), Reason.SESSION_SERVICE_UNTRUSTWORTHY),
    ],
)
async def test_every_bad_answer_has_its_refusal(house, answer, reason):
    """Each answer but found and created refuses the write, with its own reason."""
    house.service.before = always(answer)
    assert await house.reason(write()) is reason
    assert house.telemetry.decisions == [("refused", reason)]


@pytest.mark.parametrize("answer", [Conflict(), Unknown("away"), Untrustworthy("lies")])
async def test_errors_are_never_remembered(house, answer):
    """The write after a failure is decided by a new answer."""
    house.service.before = always(answer)
    await house.reason(write())
    house.service.before = None
    assert await house.decide(write()) == Allow(Grounds.CREATED)


async def test_a_tombstone_is_remembered(house):
    """A deleted session is refused the second time without a question."""
    house.service.add("s-1", "ann", SessionStatus.DELETED)
    assert await house.reason(write()) is Reason.SESSION_GONE
    assert await house.reason(write(user="bob")) is Reason.SESSION_GONE
    assert len(house.service.asked) == 1


async def test_a_session_service_that_cannot_create_leaves_the_session_missing(house):
    """A session that is absent even after `ensure` is refused as `session_not_found`."""

    house.service.creates = False
    assert await house.reason(write()) is Reason.SESSION_NOT_FOUND


@pytest.mark.parametrize(("policy", "expected"), [(OnEnded.FORWARD, None), (OnEnded.REJECT, Reason.SESSION_ENDED)])
async def test_writes_to_an_ended_session_follow_the_policy(policy, expected):
    """A write to an ended session follows the policy, whether the session was known or asked about."""
    house = House(on_ended=policy)
    house.service.add("s-1", "ann", SessionStatus.ENDED)
    assert await house.reason(write()) is expected
    assert await house.reason(write()) is expected
    assert (house.permit_known(write()) is None) == (expected is not None)
    assert len(house.service.asked) == 1


async def test_a_fresh_answer_counts_more_than_what_was_known_last():
    """An expired entry refuses only where the session service gives no answer."""
    house = House()
    house.service.add("s-1", "ann", SessionStatus.DELETED)
    await house.decide(write())
    house.clock.advance(301)
    house.service.before = always(Conflict())
    assert await house.reason(write()) is Reason.SESSION_OWNED_BY_ANOTHER_USER


async def test_without_a_journal_nobody_owes_anything():
    """Without a journal no debt is looked for."""
    house = House(debts=None)
    assert await house.decide(write()) == Allow(Grounds.CREATED)
    house.service.down = True
    assert await house.reason(write("s-2")) is Reason.SESSION_SERVICE_UNAVAILABLE


async def test_an_expired_session_is_asked_about_again(house):
    """An expired entry permits nothing, and the session is asked about again."""
    await house.decide(write())
    house.clock.advance(301)
    assert house.permit_known(write()) is None
    assert await house.decide(write()) == Allow(Grounds.FOUND)


@pytest.mark.parametrize("kind", [RuleKind.ENSURE, RuleKind.REQUIRE])
async def test_everything_asked_for_one_write_has_one_deadline(kind):
    """A session service that never answers is an outage at the deadline."""
    house = House(timeout=0.01)

    async def never(operation, reference):
        await asyncio.Event().wait()

    house.service.before = never
    assert await house.reason(write(kind=kind)) is Reason.SESSION_SERVICE_UNAVAILABLE


def test_forwarding_in_an_outage_needs_a_journal(house):
    """`OnOutage.FORWARD` without a journal is a ValueError."""
    with pytest.raises(ValueError, match=r"^forwarding in an outage needs a journal of debts$"):
        Guard(house.known, house.service, house.telemetry, Policy(1.0, OnOutage.FORWARD))
