"""The `Debts` port: the fake and the journal on disk keep the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.guard.ports import Debts
from sidecar.guard.verdicts import Conflict, Created, Gone, Owed
from sidecar.model import Reference, Session, SessionStatus
from sidecar.outbox.outbox import Outbox
from sidecar.testing import FakeDebts

ANN = Reference("s-1", "ann")
BOB = Reference("s-1", "bob")
SCOPED = Reference("s-1", None, scope=("app", "user"))


@pytest.fixture(params=["fake", "outbox"])
async def debts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Debts]:
    if request.param == "fake":
        yield FakeDebts()
        return
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    await outbox.aclose()


async def test_at_first_nothing_is_owed(debts):
    """A new journal owes nothing and names no claimant."""
    assert not debts.any_owed()
    assert debts.claimant("s-1") is None
    assert list(await debts.due(10)) == []


async def test_a_debt_belongs_to_its_first_claimant(debts):
    """A debt repeated by any user stays the first claimant's."""
    assert await debts.owe(ANN) == Owed("ann")
    assert await debts.owe(BOB) == Owed("ann")
    assert await debts.owe(ANN) == Owed("ann")
    assert debts.any_owed()
    assert debts.claimant("s-1") == Owed("ann")
    assert list(await debts.due(10)) == [ANN]


async def test_scopes_and_missing_owners_are_kept(debts):
    """Scope and missing owner come back as they were owed."""
    assert await debts.owe(SCOPED) == Owed(None)
    assert debts.claimant(SCOPED.key) == Owed(None)
    assert debts.claimant("s-1") is None
    assert list(await debts.due(10)) == [SCOPED]


async def test_the_variables_of_the_first_claim_are_kept(debts):
    """A debt comes back with all that the call needs which pays it."""
    first, later = (Reference("s-1", "ann", variables=(("tenant", tenant),)) for tenant in ("t-1", "t-2"))
    await debts.owe(first)
    await debts.owe(later)
    assert [one.variables for one in await debts.due(10)] == [(("tenant", "t-1"),)]


async def test_the_oldest_come_first_and_no_more_than_wanted(debts):
    """Debts come in the order in which they were owed, and no more of them than asked for."""
    references = [Reference(f"s-{n}", "ann") for n in (3, 1, 2)]
    for reference in references:
        await debts.owe(reference)
    assert list(await debts.due(2)) == references[:2]


@pytest.mark.parametrize("answer", [Created(Session("ann", SessionStatus.ACTIVE)), Conflict(), Gone()])
async def test_what_is_settled_is_owed_no_more(debts, answer):
    """A debt that was settled is owed no more, whether it was paid or can never be."""
    await debts.owe(ANN)
    await debts.settle(ANN, answer)
    assert not debts.any_owed()
    assert debts.claimant("s-1") is None
    assert list(await debts.due(10)) == []


@pytest.mark.parametrize("answer", [Conflict(), Gone()])
async def test_what_could_not_be_paid_is_not_owed_again(debts, answer):
    """The same user is told why; another user may owe after a conflict, and no user after a deletion."""
    await debts.owe(ANN)
    await debts.settle(ANN, answer)
    assert await debts.owe(ANN) == answer
    assert not debts.any_owed()
    assert await debts.owe(BOB) == (answer if answer == Gone() else Owed("bob"))


async def test_a_debt_set_aside_is_kept_apart(debts):
    """A debt that was set aside is not due with the others, and stays its claimant's."""
    await debts.owe(ANN)
    await debts.set_aside(ANN, "it answered 500")
    assert not debts.any_owed()
    assert list(await debts.due(10)) == []
    assert list(await debts.due(10, set_aside=True)) == [ANN]
    assert debts.claimant("s-1") == Owed("ann", set_aside=True)
    assert await debts.owe(BOB) == Owed("ann", set_aside=True)


async def test_a_debt_set_aside_can_be_settled(debts):
    """A debt that was set aside can be settled, and leaves nothing."""
    await debts.owe(ANN)
    await debts.set_aside(ANN, "it answered 500")
    await debts.settle(ANN, Created(Session("ann", SessionStatus.ACTIVE)))
    assert debts.claimant("s-1") is None
    assert list(await debts.due(10, set_aside=True)) == []
