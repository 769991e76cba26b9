"""`session-sidecar outbox` lists what is owed and what could not be paid."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.model import Reference
from sidecar.outbox.journal import Journal
from sidecar.tools.outbox import outbox


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the settings say that the journal is."""
    monkeypatch.setenv("SIDECAR_OUTBOX", str(tmp_path / "outbox.db"))
    return tmp_path / "outbox.db"


def listing() -> Result:
    """Run the command."""
    return CliRunner().invoke(outbox)


def test_says_that_nothing_is_owed_where_there_is_no_journal(path: Path) -> None:
    """Without a journal the command says that nothing is owed, and makes no file."""
    result = listing()
    assert result.exit_code == 0
    assert "nothing is owed" in result.stdout
    assert not path.exists()


def test_lists_debts_and_conflicts(path: Path) -> None:
    """Each debt and conflict has one line with user, time and reason, and its ids as they are."""
    long = "x" * 255
    journal = Journal(path)
    owed = [Reference(long, "alice"), Reference(":smile:", "alice"), Reference("s1", "bob", scope=("app",))]
    lost = [Reference("taken", "alice"), Reference("deleted", "alice")]
    for reference in owed + lost:
        journal.together([lambda journal, reference=reference: journal.add(reference)])
    for reference, outcome in zip(lost, ["conflict", "gone"], strict=True):
        journal.together([lambda journal, one=reference, why=outcome: journal.acknowledge(one, why)])
    journal.close()
    result = listing()
    assert result.exit_code == 0
    assert "Owed to the session service: 3" in result.stdout
    assert "Could not be paid: 2" in result.stdout
    for line in (long, ":smile:", "app/s1"):
        assert line in result.stdout
    assert [line for line in result.stdout.splitlines() if "taken" in line and "belongs to another user" in line]
    assert [line for line in result.stdout.splitlines() if "deleted" in line and "was deleted" in line]


def test_says_none_for_an_empty_journal(path: Path) -> None:
    """A journal without debts lists none."""
    Journal(path).close()
    assert listing().stdout.splitlines() == ["Owed to the session service: none", "Could not be paid: none"]


def test_a_file_that_is_no_journal_is_one_line_and_exit_code_1(path: Path) -> None:
    """A file that is no journal gives one line and exit code 1."""
    path.write_bytes(b"garbage" * 1000)
    result = listing()
    assert result.exit_code == 1
    assert "outbox.db cannot be used: file is not a database" in result.stderr


def test_a_bad_setting_is_exit_code_2(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad setting gives exit code 2 before any journal is read."""
    monkeypatch.setenv("SIDECAR_MODE", "maybe")
    result = listing()
    assert result.exit_code == 2
    assert "SIDECAR_MODE" in result.stderr
