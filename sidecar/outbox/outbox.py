"""The journal of debts, for the event loop: debts written together share one commit, and each waits for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog

from service_kit.coalesce import Coalescer
from sidecar.guard.ports import DebtNotWritten
from sidecar.guard.verdicts import Conflict, Created, Found, Gone, Owed, Unknown
from sidecar.model import UNOWNED, Reference, SessionKey, SessionStatus
from sidecar.outbox.journal import CLAIM, Journal, Operation, connect, key_text

_UNREADABLE: Final = Unknown("the outbox cannot be read, and may hold a debt for the session")

_TOGETHER: Final = 1_000
"""Operations in one commit, at most."""

_log = structlog.get_logger()


class Outbox:
    """The `Debts` port over SQLite. Other processes may keep their debts in the same file."""

    def __init__(self, path: Path) -> None:
        """Open the journal, or make it. Raises DebtNotWritten where it cannot be used."""
        self._journal = Journal(path)
        # In WAL mode a look into an index waits for no writer, so it is taken on the event loop. It is a look at the
        # file and not into memory because other processes add to the same file.
        self._reader = connect(path, 0)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._commits = Coalescer[Operation, Any](self._commit_together, _TOGETHER, common=DebtNotWritten)
        self._readable = True

    async def aclose(self) -> None:
        """Finish what is being written, then close the file."""
        await self._commits.finish()
        self._worker.shutdown()
        self._reader.close()
        self._journal.close()

    async def owe(self, reference: Reference) -> Owed | Conflict | Gone:
        """Write the debt down; it is on disk when this returns. Raises DebtNotWritten."""
        owed: Owed | Conflict | Gone = await self._commits.submit(lambda journal: journal.add(reference))
        return owed

    def claimant(self, key: SessionKey) -> Owed | Unknown | None:
        """The owner of an owed session. A file that cannot be read may hold a debt for any session."""
        row = self._read(CLAIM, key_text(key))
        return Owed(row[0], row[1] is not None) if isinstance(row, tuple) else row

    def any_owed(self) -> bool:
        """Whether any debt is due; a file that cannot be read may hold some."""
        return self._read("SELECT 1 FROM debts WHERE set_aside IS NULL LIMIT 1") is not None

    def count(self) -> int:
        """How many sessions are owed, for the gauge; 0 where the file cannot be read."""
        row = self._read("SELECT COUNT(*) FROM debts")
        return int(row[0]) if isinstance(row, tuple) else 0

    async def due(self, limit: int, *, set_aside: bool = False) -> Sequence[Reference]:
        """Give the oldest debts, or the least often tried of those set aside. Raises DebtNotWritten."""
        entries = await self._commits.submit(lambda journal: journal.due(limit, set_aside=set_aside))
        return [entry.reference for entry in entries]

    async def set_aside(self, reference: Reference, why: str) -> None:
        """Keep a debt that fails for a reason of its own apart from those that are due. Raises DebtNotWritten."""
        await self._commits.submit(lambda journal: journal.set_aside(reference, why))

    async def settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        """Take the debt out, and keep it as a conflict unless the session now exists for its claimant.

        Raises DebtNotWritten.
        """
        outcome = unpayable(reference, answer)
        await self._commits.submit(lambda journal: journal.acknowledge(reference, outcome))

    async def _commit_together(self, operations: Sequence[Operation]) -> list[Any]:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._journal.together, operations)

    def _read(self, query: str, *values: str) -> tuple[Any, ...] | Unknown | None:
        """Give the first row that the file has, or Unknown where it cannot be read, which is logged once."""
        try:
            row: tuple[Any, ...] | None = self._reader.execute(query, values).fetchone()
        except sqlite3.Error as error:
            if self._readable:
                _log.error("the outbox cannot be read; it is taken to hold debts", error=str(error))
            self._readable = False
            return _UNREADABLE
        self._readable = True
        return row


def unpayable(reference: Reference, answer: Found | Created | Conflict | Gone) -> str | None:
    """Why a debt can never be paid, or None where the answer pays it."""
    match answer:
        case Found(session) | Created(session) if session.status is not SessionStatus.DELETED:
            return None if session.owner in (UNOWNED, reference.user_id) else "conflict"
        case Conflict():
            return "conflict"
        case _:
            return "gone"
