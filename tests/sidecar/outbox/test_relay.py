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

from sidecar.model import Conflict, Created, Gone, Reference, Session, SessionStatus, Unknown, Untrustworthy, Verdict
from sidecar.outbox.outbox import Outbox
from sidecar.outbox.relay import AT_ONCE, OutboxRelay, RelayLock
from sidecar.ports import Telemetry
from tests.support.eventually import eventually


class Service:
    """A session service that answers as it is told, and counts."""

    def __init__(self) -> None:
        self.down = False
        self.special: dict[str, Verdict] = {}
        self.asked: Counter[str] = Counter()
        self.created: Counter[str] = Counter()

    async def look(self, reference: Reference) -> Verdict:
        """Nobody who pays has to look."""
        raise AssertionError("paying does not look")

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


@contextlib.asynccontextmanager
async def paying(outbox: Outbox, service: Service, telemetry: Telemetry) -> AsyncIterator[OutboxRelay]:
    """A payer at work."""
    payer = OutboxRelay(outbox, service, telemetry, RelayLock(outbox._journal.path))
    await payer.start()
    try:
        yield payer
    finally:
        await payer.stop()


def debts(count: int) -> list[Reference]:
    """So many sessions of one user."""
    return [Reference(f"s{number}", "alice") for number in range(count)]


async def test_pays_every_debt_once(outbox: Outbox, telemetry: Telemetry) -> None:
    """More debts than are paid at a time, each created by one call."""
    service = Service()
    await asyncio.gather(*map(outbox.owe, debts(5 * AT_ONCE)))
    async with paying(outbox, service, telemetry):
        await eventually(lambda: not outbox.any_owed())
    assert service.asked == Counter(reference.session_id for reference in debts(5 * AT_ONCE))


async def test_waits_for_the_session_service(outbox: Outbox, telemetry: Telemetry) -> None:
    """While nobody can say, debts stay; afterwards they are paid without anybody's asking."""
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
    """A restart does not forgive debts."""
    before = Outbox(tmp_path / "outbox.db")
    await before.owe(debts(1)[0])
    await before.aclose()
    after = Outbox(tmp_path / "outbox.db")
    async with paying(after, Service(), telemetry):
        await eventually(lambda: not after.any_owed())
    await after.aclose()


@pytest.mark.parametrize(("answer", "outcome"), [(Conflict(), "conflict"), (Gone(), "gone")])
async def test_counts_what_cannot_be_paid(outbox: Outbox, telemetry: Telemetry, answer: Verdict, outcome: str) -> None:
    """Another's session, or a deleted one, is told once and blocks nothing."""
    service = Service()
    service.special["s0"] = answer
    for reference in debts(2):
        await outbox.owe(reference)
    async with paying(outbox, service, telemetry):
        await eventually(lambda: not outbox.any_owed())
    telemetry.debt_conflict.assert_called_once_with(debts(1)[0], outcome)  # type: ignore[attr-defined] # autospec
    assert service.created == {"s1": 1}


async def test_one_stubborn_debt_holds_up_no_other(outbox: Outbox, telemetry: Telemetry) -> None:
    """A debt whose answer is not to be trusted stays owed, alone."""
    service = Service()
    service.special["s0"] = Untrustworthy("it answered with another id")
    await asyncio.gather(*map(outbox.owe, debts(3 * AT_ONCE)))
    async with paying(outbox, service, telemetry):
        await eventually(lambda: outbox.count() == 1)
    assert await outbox.due(10) == debts(1)


async def test_only_one_at_a_time_pays_from_a_file(
    outbox: Outbox, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another holds the right, this one waits, and takes over when it is free."""
    service = Service()
    tries = Mock(wraps=fcntl.flock)
    monkeypatch.setattr("fcntl.flock", tries)
    other = RelayLock(outbox._journal.path)
    assert other.take()
    await outbox.owe(debts(1)[0])
    async with paying(outbox, service, telemetry):
        await eventually(lambda: tries.call_count > 1)
        assert service.asked == {}
        other.give_back()
        await eventually(lambda: not outbox.any_owed())


async def test_two_who_pay_from_one_file_pay_no_debt_twice(
    outbox: Outbox, tmp_path: Path, telemetry: Telemetry
) -> None:
    """Whoever comes second finds only what the first has left."""
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
from sidecar.outbox.relay import RelayLock

print(RelayLock(Path(sys.argv[1])).take(), flush=True)
time.sleep(600)
"""


def test_the_right_to_pay_dies_with_its_holder(tmp_path: Path) -> None:
    """No lock is left behind by kill -9."""
    lock = RelayLock(tmp_path / "outbox.db")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_TELL, str(tmp_path / "outbox.db")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "True"
        assert not lock.take()
        holder.kill()
        holder.wait()
    assert lock.take()
    lock.give_back()


async def test_pays_for_a_process_that_died(outbox: Outbox, tmp_path: Path, telemetry: Telemetry) -> None:
    """A debt in the file is paid by whoever lives, also if another process wrote it while this one was at work."""
    service = Service()
    async with paying(outbox, service, telemetry):
        dying = Outbox(tmp_path / "outbox.db")
        await dying.owe(debts(1)[0])
        await eventually(lambda: not outbox.any_owed())
        await dying.aclose()
    assert service.created == {"s0": 1}


async def test_a_journal_in_trouble_ends_nothing(outbox: Outbox, telemetry: Telemetry) -> None:
    """Paying waits until the disk works again."""
    service = Service()
    await outbox.owe(debts(1)[0])
    outbox._journal._connection.execute("PRAGMA query_only = ON")
    async with paying(outbox, service, telemetry) as payer:
        await eventually(lambda: payer._troubled)
        assert outbox.any_owed()
        outbox._journal._connection.execute("PRAGMA query_only = OFF")
        await eventually(lambda: not outbox.any_owed())
