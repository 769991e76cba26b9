"""Debts are paid as soon as somebody can be paid, by one process at a time, each exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import Mock, create_autospec

import pytest

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.ports import DebtNotWritten, Telemetry
from sidecar.guard.verdicts import (
    Absent,
    Conflict,
    Created,
    Found,
    Gone,
    Invalid,
    Owed,
    Unknown,
    Untrustworthy,
    Verdict,
)
from sidecar.model import UNOWNED, Reference, Session, SessionStatus
from sidecar.outbox.outbox import Outbox
from sidecar.outbox.relay import AT_ONCE, OutboxRelay, relay_lock
from tests.support.eventually import eventually


class Service:
    """A session service that answers as it is told, and counts."""

    def __init__(self) -> None:
        self.down = False
        self.special: dict[str, Verdict] = {}
        self.asked: Counter[str] = Counter()
        self.created: Counter[str] = Counter()

    async def look(self, reference: Reference) -> Verdict:
        """Say that there is none, or fail."""
        assert reference.session_id not in self.asked
        return Unknown("connection refused") if self.down else Absent()

    async def ensure(self, reference: Reference) -> Verdict:
        """Create, unless told otherwise."""
        await asyncio.sleep(0)
        self.asked[reference.session_id] += 1
        if self.down:
            return Unknown("connection refused")
        if reference.session_id in self.special:
            return self.special[reference.session_id]
        self.created[reference.session_id] += 1
        return Created(Session(reference.user_id, SessionStatus.ACTIVE))


class UnscopedService(Service):
    """A session service for which no call can be written that names a scope."""

    async def look(self, reference: Reference) -> Verdict:
        """Say that there is none, or fail."""
        return Invalid("no scope is named") if reference.scope else await super().look(reference)

    async def ensure(self, reference: Reference) -> Verdict:
        """Create, unless told otherwise."""
        answer = await super().ensure(reference)
        return Invalid("no scope is named") if reference.scope else answer


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    """An open journal."""
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    await outbox.aclose()


@pytest.fixture
def telemetry() -> Telemetry:
    """Takes note of calls."""
    return create_autospec(Telemetry, instance=True)  # type: ignore[no-any-return] # it has the port's shape


def cache() -> SessionCache:
    return SessionCache(100, 300.0, followed=False)


@contextlib.asynccontextmanager
async def paying(
    outbox: Outbox, service: Service, telemetry: Telemetry, known: SessionCache | None = None
) -> AsyncIterator[OutboxRelay]:
    """A relay at work."""
    known = cache() if known is None else known
    relay = OutboxRelay(outbox, service, known, telemetry, outbox._journal.path)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


def debts(count: int) -> list[Reference]:
    """So many sessions of one user."""
    return [Reference(f"s{number}", "alice") for number in range(count)]


async def test_pays_every_debt_once(outbox: Outbox, telemetry: Telemetry) -> None:
    """Each of more debts than one batch holds is paid with one call."""
    service = Service()
    await asyncio.gather(*map(outbox.owe, debts(5 * AT_ONCE)))
    async with paying(outbox, service, telemetry):
        await eventually(lambda: not outbox.any_owed())
    assert service.asked == Counter(reference.session_id for reference in debts(5 * AT_ONCE))


async def test_waits_for_the_session_service(outbox: Outbox, telemetry: Telemetry) -> None:
    """Debts stay while the session service gives no answer, and are paid once it does."""
    service = Service()
    service.down = True
    await outbox.owe(debts(1)[0])
    async with paying(outbox, service, telemetry):
        await eventually(lambda: service.asked["s0"] > 1)
        assert outbox.any_owed()
        service.down = False
        await eventually(lambda: not outbox.any_owed())
    assert service.created == {"s0": 1}


async def test_pays_what_an_earlier_life_owed(tmp_path: Path, telemetry: Telemetry) -> None:
    """A relay pays debts that an earlier process wrote."""
    before = Outbox(tmp_path / "outbox.db")
    await before.owe(debts(1)[0])
    await before.aclose()
    after = Outbox(tmp_path / "outbox.db")
    async with paying(after, Service(), telemetry):
        await eventually(lambda: not after.any_owed())
    await after.aclose()


@pytest.mark.parametrize(("answer", "outcome"), [(Conflict(), "conflict"), (Gone(), "gone")])
async def test_counts_what_cannot_be_paid(outbox: Outbox, telemetry: Telemetry, answer: Verdict, outcome: str) -> None:
    """A conflict or a deleted session is counted once and blocks no other debt."""
    service = Service()
    service.special["s0"] = answer
    for reference in debts(2):
        await outbox.owe(reference)
    async with paying(outbox, service, telemetry):
        await eventually(lambda: not outbox.any_owed())
    telemetry.debt_conflict.assert_called_once_with(debts(1)[0], outcome)  # type: ignore[attr-defined] # autospec
    assert service.created == {"s1": 1}


@pytest.mark.parametrize("user", ["alice", None])
async def test_a_session_that_belongs_to_no_user_pays_the_debt_of_each(
    outbox: Outbox, telemetry: Telemetry, user: str | None
) -> None:
    """A session without an owner takes every user's writes, so that it is no conflict for the claimant."""
    service = Service()
    service.special["s0"] = Created(Session(UNOWNED, SessionStatus.ACTIVE))
    await outbox.owe(Reference("s0", user))
    async with paying(outbox, service, telemetry):
        await eventually(lambda: not outbox.any_owed())
    telemetry.debt_conflict.assert_not_called()  # type: ignore[attr-defined] # autospec
    assert await outbox.owe(Reference("s0", user)) == Owed(user)


@pytest.mark.parametrize("answer", [Untrustworthy("it answered with another id"), Unknown("it answered 500"), Absent()])
async def test_debts_that_fail_by_themselves_hold_up_no_other(
    outbox: Outbox, telemetry: Telemetry, answer: Verdict
) -> None:
    """A batch of debts that fail by themselves is set aside, and the debt behind them is paid."""
    service = Service()
    stubborn = debts(AT_ONCE + 1)
    service.special = {reference.session_id: answer for reference in stubborn}
    await asyncio.gather(*map(outbox.owe, [*stubborn, Reference("good", "alice")]))
    async with paying(outbox, service, telemetry):
        await eventually(lambda: service.created == {"good": 1})
        await eventually(lambda: not outbox.any_owed())
    assert outbox.count() == AT_ONCE + 1


async def test_what_was_set_aside_is_tried_again(outbox: Outbox, telemetry: Telemetry) -> None:
    """A debt that was set aside is paid once the session service answers otherwise."""
    service = Service()
    service.special["s0"] = Untrustworthy("it answered with another id")
    await outbox.owe(debts(1)[0])
    async with paying(outbox, service, telemetry):
        await eventually(lambda: not outbox.any_owed())
        service.special.clear()
        await eventually(lambda: outbox.count() == 0)
    assert service.created == {"s0": 1}


async def test_what_stays_unpayable_holds_up_nothing_that_was_set_aside(
    outbox: Outbox, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One round tries each debt that was set aside, also behind more unpayable ones than one batch holds."""
    for name in ("FIRST_RETRY", "LONGEST_RETRY"):
        monkeypatch.setattr(f"sidecar.outbox.relay.{name}", 3600.0)
    service = Service()
    stubborn = debts(AT_ONCE + 1)
    service.special = {reference.session_id: Untrustworthy("it answered with another id") for reference in stubborn}
    for reference in [*stubborn, Reference("good", "alice")]:
        await outbox.owe(reference)
        await outbox.set_aside(reference, "it answered 500")
    async with paying(outbox, service, telemetry):
        await eventually(lambda: service.created == {"good": 1})
    assert set(service.asked.values()) == {1}


async def test_an_outage_sets_nothing_aside(outbox: Outbox, telemetry: Telemetry) -> None:
    """In an outage no debt is set aside."""
    service = Service()
    service.down = True
    await asyncio.gather(*map(outbox.owe, debts(AT_ONCE + 1)))
    async with paying(outbox, service, telemetry):
        await eventually(lambda: service.asked["s0"] > 1)
        assert await outbox.due(10, set_aside=True) == []


async def test_a_debt_that_cannot_be_asked_about_tells_nothing_of_an_outage(
    outbox: Outbox, telemetry: Telemetry
) -> None:
    """It alone is set aside: the other debts wait for the session service."""
    service = UnscopedService()
    service.down = True
    first, *others = debts(3)
    first = Reference(first.session_id, first.user_id, scope=("app",))
    for debt in (first, *others):
        await outbox.owe(debt)
    async with paying(outbox, service, telemetry):
        await eventually(lambda: service.asked["s1"] > 1)
        assert outbox.claimant(first.key) == Owed(first.user_id, set_aside=True)
        assert outbox.claimant(others[0].key) == Owed(others[0].user_id)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Created(Session("alice", SessionStatus.ACTIVE)), Session("alice", SessionStatus.ACTIVE)),
        (Found(Session("bob", SessionStatus.ACTIVE)), Session("bob", SessionStatus.ACTIVE)),
        (Gone(), Session(None, SessionStatus.DELETED)),
    ],
)
async def test_what_the_service_says_is_told_to_the_cache(
    outbox: Outbox, telemetry: Telemetry, answer: Verdict, told: Session
) -> None:
    """A paid debt makes its session known to the cache, and one that cannot be paid makes it refuse."""
    service = Service()
    service.special["s0"] = answer
    known = cache()
    await outbox.owe(debts(1)[0])
    async with paying(outbox, service, telemetry, known):
        await eventually(lambda: not outbox.any_owed())
    assert known.peek("s0") == told


async def test_a_debt_brings_no_deleted_session_back(outbox: Outbox, telemetry: Telemetry) -> None:
    """A session that was deleted through this process before its debt was paid is not created."""
    service = Service()
    known = cache()
    await outbox.owe(debts(1)[0])
    known.bury("s0")
    async with paying(outbox, service, telemetry, known):
        await eventually(lambda: not outbox.any_owed())
    assert service.created == {}
    telemetry.debt_conflict.assert_called_once_with(debts(1)[0], "gone")  # type: ignore[attr-defined] # autospec


async def test_only_one_at_a_time_pays_from_a_file(
    outbox: Outbox, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the right to pay, the relay waits, and takes over once it is free."""
    service = Service()
    tries = Mock(wraps=fcntl.flock)
    monkeypatch.setattr("fcntl.flock", tries)
    await outbox.owe(debts(1)[0])
    with contextlib.ExitStack() as other:
        assert other.enter_context(relay_lock(outbox._journal.path))
        async with paying(outbox, service, telemetry):
            await eventually(lambda: tries.call_count > 1)
            assert service.asked == {}
            other.close()
            await eventually(lambda: not outbox.any_owed())


async def test_two_who_pay_from_one_file_pay_no_debt_twice(
    outbox: Outbox, tmp_path: Path, telemetry: Telemetry
) -> None:
    """Two relays on one file pay each debt once."""
    service = Service()
    other = Outbox(tmp_path / "outbox.db")
    await asyncio.gather(*map(outbox.owe, debts(5 * AT_ONCE)))
    async with paying(outbox, service, telemetry), paying(other, service, telemetry):
        await eventually(lambda: not outbox.any_owed())
    await other.aclose()
    assert service.asked == Counter(reference.session_id for reference in debts(5 * AT_ONCE))


HOLD_AND_TELL = """
import sys, time
from pathlib import Path
from sidecar.outbox.relay import relay_lock

with relay_lock(Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    time.sleep(600)
"""


def test_the_right_to_pay_dies_with_its_holder(tmp_path: Path) -> None:
    """The right to pay is free again after its holder was killed."""
    path = tmp_path / "outbox.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_TELL, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "True"
        with relay_lock(path) as is_ours:
            assert not is_ours
        holder.kill()
        holder.wait()
    with relay_lock(path) as is_ours:
        assert is_ours


async def test_pays_for_a_process_that_died(outbox: Outbox, tmp_path: Path, telemetry: Telemetry) -> None:
    """A running relay pays a debt that another process wrote and left."""
    service = Service()
    async with paying(outbox, service, telemetry):
        dying = Outbox(tmp_path / "outbox.db")
        await dying.owe(debts(1)[0])
        await eventually(lambda: not outbox.any_owed())
        await dying.aclose()
    assert service.created == {"s0": 1}


class FullDisk(Outbox):
    """A journal that can be read but, while it `is_full`, not written."""

    is_full = True

    async def settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        if self.is_full:
            raise DebtNotWritten("the disk is full")
        await super().settle(reference, answer)

    async def set_aside(self, reference: Reference, why: str) -> None:
        if self.is_full:
            raise DebtNotWritten("the disk is full")
        await super().set_aside(reference, why)


async def test_a_full_disk_keeps_no_session_from_its_debt(tmp_path: Path, telemetry: Telemetry) -> None:
    """Each session is created, once, although no debt can be struck off; they are as soon as there is room again."""
    service, outbox = Service(), FullDisk(tmp_path / "outbox.db")
    await asyncio.gather(*map(outbox.owe, debts(3 * AT_ONCE)))
    async with paying(outbox, service, telemetry):
        await eventually(lambda: len(service.created) == 3 * AT_ONCE)
        assert outbox.count() == 3 * AT_ONCE
        outbox.is_full = False
        await eventually(lambda: not outbox.any_owed())
    await outbox.aclose()
    assert set(service.created.values()) == {1}


async def test_a_journal_in_trouble_ends_nothing(outbox: Outbox, telemetry: Telemetry) -> None:
    """The relay goes on paying once the disk works again."""
    service = Service()
    await outbox.owe(debts(1)[0])
    outbox._journal._connection.execute("PRAGMA query_only = ON")
    async with paying(outbox, service, telemetry) as relay:
        await eventually(lambda: relay._troubled)
        assert outbox.any_owed()
        outbox._journal._connection.execute("PRAGMA query_only = OFF")
        await eventually(lambda: not outbox.any_owed())
