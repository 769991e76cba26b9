"""The file behind the outbox: sessions owed, and debts that turned out to be unpayable, in SQLite.

Every call blocks and runs in a thread. `Outbox` reads on the event loop what it asks for with every write.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sidecar.guard.ports import DebtNotWritten
from sidecar.guard.verdicts import Conflict, Gone, Owed
from sidecar.model import Reference, SessionKey

VERSION: Final = 3
BUSY_SECONDS: Final = 5.0

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS debts (
        number INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL,
        user_id TEXT,
        scope TEXT NOT NULL,
        owed_at TEXT NOT NULL,
        set_aside TEXT,
        tries INTEGER NOT NULL DEFAULT 0,
        variables TEXT NOT NULL DEFAULT '[]'
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS conflicts (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        user_id TEXT,
        scope TEXT NOT NULL,
        owed_at TEXT NOT NULL,
        outcome TEXT NOT NULL,
        found_at TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS debts_due ON debts (number) WHERE set_aside IS NULL",
    "CREATE INDEX IF NOT EXISTS conflicts_of_session ON conflicts (session_id)",
    f"PRAGMA user_version = {VERSION}",
)

_FROM_VERSION_2: Final = ("ALTER TABLE debts ADD COLUMN variables TEXT NOT NULL DEFAULT '[]'",)
_FROM_VERSION: Final = {
    1: (
        "ALTER TABLE debts ADD COLUMN set_aside TEXT",
        "ALTER TABLE debts ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
        *_FROM_VERSION_2,
    ),
    2: _FROM_VERSION_2,
}

CLAIM: Final = "SELECT user_id, set_aside FROM debts WHERE key = ?"

Operation = Callable[["Journal"], Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal, its time in RFC 3339 UTC.

    `outcome` says why it cannot be paid, or why it is set aside; None for a debt that is due.
    """

    reference: Reference
    owed_at: str
    outcome: str | None = None


class Journal:
    """Writes the file. Safe from any thread, one at a time; other processes may use the same file meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises DebtNotWritten where that is impossible or it is no journal."""
        self.path = path
        try:
            is_new = not path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = connect(path, BUSY_SECONDS)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        try:
            self._prepare()
            self._file = _identity(path)
            if is_new:
                _sync_directory(path.parent)
        except (sqlite3.Error, OSError) as error:
            self._connection.close()
            raise self._unusable(error) from error
        except DebtNotWritten:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def together(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry out all operations in one transaction, on disk when this returns. Raises DebtNotWritten: then none."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                results = [operation(self) for operation in operations]
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return results

    def add(self, reference: Reference) -> Owed | Conflict | Gone:
        """Write a debt down, unless the session is owed already; gives its owner.

        What could not be paid before is not owed again: no owner and no deletion is ever taken back. Raises
        DebtNotWritten where the file was removed or replaced: no later process would find the debt in it.
        """
        if _identity(self.path) != self._file:
            raise DebtNotWritten(f"the outbox {self.path} was removed or replaced while it was in use")
        found = self._connection.execute(
            "SELECT outcome FROM conflicts WHERE session_id = ? AND scope = ? AND (outcome = 'gone' OR user_id IS ?)"
            " ORDER BY outcome = 'gone' DESC LIMIT 1",
            (reference.session_id, json.dumps(reference.scope), reference.user_id),
        ).fetchone()
        if found is not None:
            return Gone() if found[0] == "gone" else Conflict()
        key = key_text(reference.key)
        self._connection.execute(
            "INSERT INTO debts (key, session_id, user_id, scope, variables, owed_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO NOTHING",
            (
                key,
                reference.session_id,
                reference.user_id,
                json.dumps(reference.scope),
                json.dumps(reference.variables),
                _now(),
            ),
        )
        owner, set_aside = self._connection.execute(CLAIM, (key,)).fetchone()
        return Owed(owner, set_aside is not None)

    def acknowledge(self, reference: Reference, outcome: str | None = None) -> None:
        """Take a debt out; with an `outcome` it is kept among the conflicts."""
        key = key_text(reference.key)
        if outcome is not None:
            self._connection.execute(
                "INSERT INTO conflicts (session_id, user_id, scope, owed_at, outcome, found_at)"
                " SELECT session_id, user_id, scope, owed_at, ?, ? FROM debts WHERE key = ?",
                (outcome, _now(), key),
            )
        self._connection.execute("DELETE FROM debts WHERE key = ?", (key,))

    def set_aside(self, reference: Reference, why: str) -> None:
        """Keep a debt apart, behind those that were tried less often."""
        self._connection.execute(
            "UPDATE debts SET set_aside = ?, tries = tries + 1 WHERE key = ?", (why, key_text(reference.key))
        )

    def due(self, limit: int, *, set_aside: bool) -> list[Entry]:
        """The oldest debts, or of those set aside the least often tried; at most `limit`."""
        which = "NOT NULL ORDER BY tries, number" if set_aside else "NULL ORDER BY number"
        return self._entries("set_aside, variables", f"debts WHERE set_aside IS {which} LIMIT {limit:d}")

    def debts(self) -> list[Entry]:
        """All that is owed, oldest first."""
        return self._entries("set_aside, variables", "debts ORDER BY number")

    def conflicts(self) -> list[Entry]:
        """The debts that cannot be paid, oldest first."""
        return self._entries("outcome, '[]'", "conflicts ORDER BY number")

    def _entries(self, columns: str, rows: str) -> list[Entry]:
        """The entries in some rows; `columns` give the outcome and the variables. Both are texts of this module."""
        found = self._connection.execute(f"SELECT session_id, user_id, scope, owed_at, {columns} FROM {rows}")  # noqa: S608
        return [
            Entry(_reference(session_id, user_id, scope, variables), owed_at, why)
            for session_id, user_id, scope, owed_at, why, variables in found
        ]

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise DebtNotWritten(f"the outbox {self.path} was written by a later version of this program")
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise DebtNotWritten(f"the outbox {self.path} is damaged: {verdict}")
        # Also where the tables are there already: a file that cannot be written is better known now than in an outage.
        self._connection.execute("BEGIN IMMEDIATE")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        for statement in (*_FROM_VERSION.get(version, ()), *_SCHEMA):
            self._connection.execute(statement)
        self._connection.execute("COMMIT")

    def _unusable(self, error: Exception) -> DebtNotWritten:
        return DebtNotWritten(f"the outbox {self.path} cannot be used: {error}")


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open the file; a call waits so long for other processes. Raises sqlite3.Error."""
    # `isolation_level=None`: the module begins no transaction by itself, `together` does.
    return sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, which tell the file from another of its name; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sync_directory(directory: Path) -> None:
    """A new file survives a power cut only if its directory is on disk as well."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reference(session_id: str, user_id: str | None, scope: str, variables: str) -> Reference:
    pairs = tuple((name, value) for name, value in json.loads(variables))
    return Reference(session_id, user_id, scope=tuple(json.loads(scope)), variables=pairs)


def key_text(key: SessionKey) -> str:
    """What a session is written down under."""
    return json.dumps([key] if isinstance(key, str) else list(key))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
