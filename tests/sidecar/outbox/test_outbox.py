"""A debt is on disk before anybody relies on it, belongs to its first claimant, and is struck off once."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.guard.ports import DebtNotWritten
from sidecar.guard.verdicts import Conflict, Created, Found, Gone, Owed, Unknown
from sidecar.model import Reference, Session, SessionStatus
from sidecar.outbox.journal import Journal
from sidecar.outbox.outbox import Outbox

ALICE = Reference("s1", "alice")
ACTIVE = Session("alice", SessionStatus.ACTIVE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is; its folder does not exist yet."""
    return tmp_path / "data" / "outbox.db"


@pytest.fixture
async def outbox(path: Path) -> AsyncIterator[Outbox]:
    """An open journal."""
    outbox = Outbox(path)
    yield outbox
    await outbox.aclose()


def conflicts(path: Path) -> list[tuple[str, str | None]]:
    """Session and outcome of each conflict in the file."""
    journal = Journal(path)
    try:
        return [(entry.reference.session_id, entry.outcome) for entry in journal.conflicts()]
    finally:
        journal.close()


def remove(path: Path, *, is_replaced: bool) -> None:
    """Take the file away without the knowledge of the process that uses it."""
    path.rename(path.with_name("moved.db"))
    if is_replaced:
        path.touch()


async def test_nothing_is_owed_at_first(outbox: Outbox) -> None:
    """A new journal holds no debt."""
    assert not outbox.any_owed()
    assert outbox.claimant("s1") is None
    assert outbox.count() == 0
    assert await outbox.due(10) == []


async def test_a_debt_is_seen_by_everybody_once_it_is_owed(outbox: Outbox) -> None:
    """Once `owe` has returned, the claimant is known and the debt is due."""
    assert await outbox.owe(ALICE) == Owed("alice")
    assert outbox.any_owed()
    assert outbox.claimant("s1") == Owed("alice")
    assert outbox.count() == 1
    assert await outbox.due(10) == [ALICE]


async def test_the_first_claimant_owns_the_session(outbox: Outbox) -> None:
    """A later claimant is told who the first one was, and the debt stays the first one's."""
    await outbox.owe(ALICE)
    assert await outbox.owe(Reference("s1", "bob")) == Owed("alice")
    assert await outbox.due(10) == [ALICE]


async def test_owing_twice_is_one_debt(outbox: Outbox) -> None:
    """The same debt owed twice is one debt."""
    await outbox.owe(ALICE)
    await outbox.owe(ALICE)
    assert outbox.count() == 1


async def test_a_scope_keeps_sessions_of_one_id_apart(outbox: Outbox) -> None:
    """The same id in another scope is another debt, and may be another user's."""
    scoped = Reference("s1", "bob", scope=("app", "bob"))
    await outbox.owe(ALICE)
    assert await outbox.owe(scoped) == Owed("bob")
    assert outbox.claimant(scoped.key) == Owed("bob")
    assert await outbox.due(10) == [ALICE, scoped]


async def test_a_session_without_owner_can_be_owed(outbox: Outbox) -> None:
    """A debt may name no user, where the profile's sessions have no owner."""
    assert await outbox.owe(Reference("s1", None)) == Owed(None)
    assert outbox.claimant("s1") == Owed(None)


async def test_debts_are_due_oldest_first(outbox: Outbox) -> None:
    """Debts are due in the order of their claims, and a limit cuts off the newest."""
    for number in range(5):
        await outbox.owe(Reference(f"s{number}", "alice"))
    assert [reference.session_id for reference in await outbox.due(3)] == ["s0", "s1", "s2"]


@pytest.mark.parametrize("answer", [Created(ACTIVE), Found(ACTIVE), Found(Session("alice", SessionStatus.ENDED))])
async def test_a_session_that_exists_for_its_claimant_is_paid(
    outbox: Outbox, path: Path, answer: Found | Created
) -> None:
    """A debt is paid by a session that was created or found for its claimant, and leaves nothing behind."""
    await outbox.owe(ALICE)
    await outbox.settle(ALICE, answer)
    assert not outbox.any_owed()
    assert conflicts(path) == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Conflict(), "conflict"),
        (Found(Session("bob", SessionStatus.ACTIVE)), "conflict"),
        (Gone(), "gone"),
        (Found(Session("alice", SessionStatus.DELETED)), "gone"),
    ],
)
async def test_a_debt_that_cannot_be_paid_is_kept_as_a_conflict(
    outbox: Outbox, path: Path, answer: Found | Conflict | Gone, outcome: str
) -> None:
    """A debt that cannot be paid blocks nothing any more and stays listed as a conflict."""
    await outbox.owe(ALICE)
    await outbox.settle(ALICE, answer)
    assert not outbox.any_owed()
    assert conflicts(path) == [("s1", outcome)]


async def test_settling_twice_changes_nothing(outbox: Outbox, path: Path) -> None:
    """Settling a debt a second time changes nothing."""
    await outbox.owe(ALICE)
    await outbox.settle(ALICE, Gone())
    await outbox.settle(ALICE, Gone())
    assert conflicts(path) == [("s1", "gone")]


async def test_debts_outlive_a_restart(path: Path) -> None:
    """The next process finds the debts that the last one left."""
    first = Outbox(path)
    await first.owe(ALICE)
    await first.aclose()
    second = Outbox(path)
    assert second.claimant("s1") == Owed("alice")
    await second.aclose()


async def test_processes_share_a_file(outbox: Outbox, path: Path) -> None:
    """A second process on the same file sees a debt, and its payment, at once."""
    other = Outbox(path)
    await other.owe(ALICE)
    assert outbox.claimant("s1") == Owed("alice")
    assert await outbox.owe(Reference("s1", "bob")) == Owed("alice")
    await outbox.settle(ALICE, Created(ACTIVE))
    assert not other.any_owed()
    await other.aclose()


async def test_those_who_owe_at_once_share_commits(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand debts at one instant share a few commits."""
    commits: list[int] = []
    together = outbox._journal.together
    monkeypatch.setattr(
        outbox._journal, "together", lambda operations: (commits.append(len(operations)), together(operations))[1]
    )
    claims = await asyncio.gather(*(outbox.owe(Reference(f"s{number % 500}", f"u{number}")) for number in range(1_000)))
    assert sum(commits) == 1_000
    assert len(commits) <= 2
    assert outbox.count() == 500
    assert claims[500:] == claims[:500]


async def test_a_caller_who_goes_away_disturbs_nobody(outbox: Outbox) -> None:
    """A caller that is cancelled does not lose the debts of the others."""
    leaving = asyncio.create_task(outbox.owe(ALICE))
    staying = asyncio.create_task(outbox.owe(Reference("s2", "bob")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == Owed("bob")
    assert outbox.claimant("s2") == Owed("bob")


async def test_closing_finishes_what_is_being_written(path: Path) -> None:
    """`aclose` writes the debts that are under way."""
    outbox = Outbox(path)
    owing = asyncio.create_task(outbox.owe(ALICE))
    await asyncio.sleep(0)
    await outbox.aclose()
    assert await owing == Owed("alice")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT session_id FROM debts").fetchall() == [("s1",)]
    connection.close()


OWE_AND_TELL = """
import asyncio, sys
from pathlib import Path
from sidecar.outbox.outbox import Outbox
from sidecar.model import Reference

async def main() -> None:
    outbox = Outbox(Path(sys.argv[1]))

    async def owe_for_ever(worker: int) -> None:
        number = 0
        while True:
            await outbox.owe(Reference(f"{worker}-{number}", "alice"))
            print(f"{worker}-{number}", flush=True)
            number += 1

    await asyncio.gather(*map(owe_for_ever, range(8)))

asyncio.run(main())
"""


def told_before_a_kill(path: Path, least: int) -> list[str]:
    """Let a process owe without end, kill it after so many debts, and give all that it said it had owed."""
    process = subprocess.Popen([sys.executable, "-c", OWE_AND_TELL, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(least)]
    process.kill()
    told += [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    return told


async def test_no_promised_debt_is_lost_to_a_kill(path: Path) -> None:
    """Each session that `owe` returned for is in the file after kill -9."""
    told = await asyncio.to_thread(told_before_a_kill, path, 200)
    outbox = Outbox(path)
    owed = {reference.session_id for reference in await outbox.due(-1)}
    await outbox.aclose()
    assert len(told) >= 200
    assert set(told) <= owed


async def test_writes_reach_the_disk_and_not_only_the_system(outbox: Outbox) -> None:
    """The journal asks for a sync at every commit."""
    connection = outbox._journal._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_full_disk_is_said_and_the_debt_not_promised(outbox: Outbox) -> None:
    """`owe` raises on a full disk, and later debts are written once there is room again."""
    pages = outbox._journal._connection.execute("PRAGMA page_count").fetchone()[0]
    outbox._journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    long = "x" * 255
    debts = [Reference(f"{number}-{long}", "alice") for number in range(1_000)]
    with pytest.raises(DebtNotWritten, match="full"):
        await asyncio.gather(*map(outbox.owe, debts))
    assert outbox.count() == 0
    outbox._journal._connection.execute("PRAGMA max_page_count = 1073741823")
    await outbox.owe(ALICE)
    assert outbox.count() == 1


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_no_debt_is_promised_in_a_file_that_is_gone(outbox: Outbox, path: Path, *, is_replaced: bool) -> None:
    """Nobody would find it there after a restart; what was owed before can still be paid."""
    await outbox.owe(ALICE)
    remove(path, is_replaced=is_replaced)
    with pytest.raises(DebtNotWritten, match="removed or replaced"):
        await outbox.owe(Reference("s2", "alice"))
    assert await outbox.due(10) == [ALICE]
    await outbox.settle(ALICE, Found(ACTIVE))
    assert await outbox.due(10) == []


async def test_a_file_that_is_held_is_an_error_and_not_a_wait_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program's endless transaction ends in an exception that says so."""
    monkeypatch.setattr("sidecar.outbox.journal.BUSY_SECONDS", 0.05)
    outbox = Outbox(path)
    hog = sqlite3.connect(path, isolation_level=None)
    hog.execute("BEGIN IMMEDIATE")
    with pytest.raises(DebtNotWritten, match="locked"):
        await outbox.owe(ALICE)
    hog.execute("ROLLBACK")
    hog.close()
    assert await outbox.owe(ALICE) == Owed("alice")
    await outbox.aclose()


def test_a_file_that_is_no_journal_is_refused(path: Path) -> None:
    """A file that is no journal is reported at the start, in one sentence that names the file."""
    path.parent.mkdir()
    path.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(DebtNotWritten, match=r"outbox\.db cannot be used: file is not a database"):
        Outbox(path)


def tear(path: Path) -> None:
    """Overwrite a page in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 4096)


async def test_a_damaged_file_is_refused(path: Path) -> None:
    """A torn page is reported at the start, and not first in an outage."""
    outbox = Outbox(path)
    for number in range(300):
        await outbox.owe(Reference(f"session-{number}", "alice"))
    await outbox.aclose()
    tear(path)
    with pytest.raises(DebtNotWritten, match=r"outbox\.db"):
        Outbox(path)


@pytest.mark.parametrize(("version", "columns"), [(1, ""), (2, ", set_aside TEXT, tries INTEGER NOT NULL DEFAULT 0")])
async def test_a_journal_of_an_earlier_version_is_taken_over(path: Path, version: int, columns: str) -> None:
    """The debts and conflicts of a journal of an earlier version are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(
        f"""
        CREATE TABLE debts (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, session_id TEXT NOT NULL,
            user_id TEXT, scope TEXT NOT NULL, owed_at TEXT NOT NULL{columns}) STRICT;
        CREATE TABLE conflicts (number INTEGER PRIMARY KEY, session_id TEXT NOT NULL, user_id TEXT,
            scope TEXT NOT NULL, owed_at TEXT NOT NULL, outcome TEXT NOT NULL, found_at TEXT NOT NULL) STRICT;
        INSERT INTO debts (number, key, session_id, user_id, scope, owed_at)
            VALUES (1, '["s1"]', 's1', 'alice', '[]', '2031-04-01T09:12:33.120Z');
        INSERT INTO conflicts VALUES (1, 's2', 'alice', '[]', '2031-04-01T09:12:33.120Z', 'conflict', '2031');
        PRAGMA user_version = {version};
        """
    )
    connection.close()
    outbox = Outbox(path)
    assert await outbox.due(10) == [ALICE]
    assert outbox.claimant("s1") == Owed("alice")
    assert await outbox.owe(Reference("s2", "alice")) == Conflict()
    await outbox.aclose()


def test_a_journal_of_the_future_is_refused(path: Path) -> None:
    """A journal of an unknown version is refused and left unchanged."""
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DebtNotWritten, match="later version"):
        Outbox(path)


def test_a_folder_in_the_way_is_refused(path: Path) -> None:
    """A path that is a folder is refused in one sentence."""
    path.mkdir(parents=True)
    with pytest.raises(DebtNotWritten, match=r"outbox\.db cannot be used"):
        Outbox(path)


async def test_a_journal_that_cannot_be_read_counts_as_owing(outbox: Outbox) -> None:
    """A journal that cannot be read is taken to hold a debt for every session."""
    outbox._reader.close()
    assert outbox.any_owed()
    assert isinstance(outbox.claimant("s1"), Unknown)
    assert outbox.count() == 0
    outbox._reader = sqlite3.connect(outbox._journal.path, isolation_level=None)
    assert not outbox.any_owed()
