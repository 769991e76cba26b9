"""The journal of debts, for the event loop: debts written together share one commit, and each waits for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from sidecar.guard.ports import DebtNotWritten
from sidecar.model import UNOWNED, Conflict, Created, Found, Gone, Owed, Reference, SessionKey, SessionStatus, Unknown
from sidecar.outbox.journal import Journal, Operation, OutboxReader

_UNREADABLE: Final = Unknown("the outbox cannot be read, and may hold a debt for the session")

_log = structlog.get_logger()


class Outbox:
    """The `Debts` port over SQLite. Other processes may keep their debts in the same file."""

    def __init__(self, path: Path) -> None:
        """Open the journal, or make it. Raises DebtNotWritten where it cannot be used."""
        self._journal = Journal(path)
        self._glance = OutboxReader(path)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._waiting: list[tuple[Operation, asyncio.Future[Any]]] = []
        self._committer: asyncio.Task[None] | None = None
        self._readable = True

    async def aclose(self) -> None:
        """Finish what is being written, then close the file."""
        while self._committer is not None:
            await asyncio.wait([self._committer])
        self._worker.shutdown()
        self._glance.close()
        self._journal.close()

    async def owe(self, reference: Reference) -> Owed | Conflict | Gone:
        """Write the debt down; it is on disk when this returns. Raises DebtNotWritten."""
        owed: Owed | Conflict | Gone = await self._commit(lambda journal: journal.add(reference))
        return owed

    def claimant(self, key: SessionKey) -> Owed | Unknown | None:
        """Whom an owed session belongs to. A file that cannot be read may hold a debt for any session."""
        try:
            return self._glance.claimant(key)
        except sqlite3.Error as error:
            self._note_unreadable(error)
            return _UNREADABLE

    def any_owed(self) -> bool:
        """Whether any debt is due; a file that cannot be read may hold some."""
        try:
            owed = self._glance.any()
        except sqlite3.Error as error:
            self._note_unreadable(error)
            return True
        self._readable = True
        return owed

    def count(self) -> int:
        """How many sessions are owed, for the gauge; 0 where the file cannot be read."""
        try:
            return self._glance.count()
        except sqlite3.Error as error:
            self._note_unreadable(error)
            return 0

    async def due(self, limit: int, *, set_aside: bool = False) -> Sequence[Reference]:
        """Give the oldest debts, or the least often tried of those set aside. Raises DebtNotWritten."""
        entries = await self._commit(lambda journal: journal.due(limit, set_aside=set_aside))
        return [entry.reference for entry in entries]

    async def set_aside(self, reference: Reference, why: str) -> None:
        """Keep a debt that fails for a reason of its own apart from those that are due. Raises DebtNotWritten."""
        await self._commit(lambda journal: journal.set_aside(reference, why))

    async def settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        """Take the debt out, and keep it as a conflict unless the session now exists for its claimant.

        Raises DebtNotWritten.
        """
        outcome = unpayable(reference, answer)
        await self._commit(lambda journal: journal.acknowledge(reference, outcome))

    async def _commit(self, operation: Operation) -> Any:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, done))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_waiting(), name="outbox commits")
        return await done

    async def _commit_waiting(self) -> None:
        """Commit all that has gathered while the last commit went to disk, until nothing has."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._commit_batch(batch)
        finally:
            self._committer = None

    async def _commit_batch(self, batch: list[tuple[Operation, asyncio.Future[Any]]]) -> None:
        work = partial(self._journal.together, [operation for operation, _ in batch])
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except DebtNotWritten as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
        else:
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)

    def _note_unreadable(self, error: sqlite3.Error) -> None:
        if self._readable:
            self._readable = False
            _log.error("the outbox cannot be read; it is taken to hold debts", error=str(error))


def unpayable(reference: Reference, answer: Found | Created | Conflict | Gone) -> str | None:
    """Why a debt can never be paid, or None where the answer pays it."""
    match answer:
        case Found(session) | Created(session) if session.status is not SessionStatus.DELETED:
            return None if session.owner in (UNOWNED, reference.user_id) else "conflict"
        case Conflict():
            return "conflict"
        case _:
            return "gone"
