"""Pays debts: creates the owed sessions as soon as the session service answers, and strikes them off.

One process at a time pays from a file. The lock is the operating system's, so it dies with its holder.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
from pathlib import Path
from typing import Final

import structlog

from sidecar.model import Conflict, Created, Found, Gone, Reference
from sidecar.outbox.outbox import unpayable
from sidecar.ports import DebtNotWritten, Debts, SessionService, Telemetry

LOOK_EVERY: Final = 0.1
"""Seconds between two looks for debts, which may be another process's."""

LONGEST_BACKOFF: Final = 1.0
AT_ONCE: Final = 32

_log = structlog.get_logger()


class RelayLock:
    """The right to pay from one file, for one process at a time."""

    def __init__(self, path: Path) -> None:
        """`path` is the journal's; the lock is a file beside it."""
        self._path = path.with_name(f"{path.name}.lock")
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the right, unless another process has it. Raises OSError where the file cannot be opened."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def give_back(self) -> None:
        """Let others pay."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class OutboxRelay:
    """Pays in the background, across restarts and for processes that died: whatever is in the file is paid."""

    def __init__(self, debts: Debts, service: SessionService, telemetry: Telemetry, lock: RelayLock) -> None:
        self._debts = debts
        self._service = service
        self._telemetry = telemetry
        self._lock = lock
        self._task: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[bool]] = set()
        self._troubled = False

    async def start(self) -> None:
        """Begin to pay; returns at once."""
        self._task = asyncio.create_task(self._pay_for_ever(), name="paying debts")

    async def stop(self) -> None:
        """Stop paying, but finish what the session service has answered; what is still owed stays in the file."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await asyncio.gather(*self._settling)

    async def _pay_for_ever(self) -> None:
        failures = 0
        while True:
            if self._debts.any_owed() and not await self._pay_in_turn():
                failures = min(failures + 1, 10)
                longest = min(LONGEST_BACKOFF, LOOK_EVERY * 2**failures)
                await asyncio.sleep(random.uniform(LOOK_EVERY, longest))  # noqa: S311 # spreads load, keeps no secret
            else:
                failures = 0
                await asyncio.sleep(LOOK_EVERY)

    async def _pay_in_turn(self) -> bool:
        """Pay while this process has the right to; false where somebody has to wait for something."""
        try:
            if not self._lock.take():
                return False
            try:
                return await self._pay_all()
            finally:
                # Not kept: another process may reach a session service that this one cannot.
                self._lock.give_back()
        except (DebtNotWritten, OSError) as error:
            self._note_trouble(str(error))
            return False

    async def _pay_all(self) -> bool:
        """Pay until nothing is owed, or nothing of what is owed could be paid: then false."""
        while due := await self._debts.due(AT_ONCE):
            paid = sum(await asyncio.gather(*map(self._pay, due)))
            if not paid:
                return False
            self._troubled = paid < len(due)
            _log.info("owed sessions paid", sessions=paid)
        return True

    async def _pay(self, reference: Reference) -> bool:
        answer = await self._service.ensure(reference)
        if not isinstance(answer, Found | Created | Conflict | Gone):
            self._note_trouble(getattr(answer, "why", "the session was not created"), reference)
            return False
        settling = asyncio.create_task(self._settle(reference, answer))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        # Not to be cut between striking a debt off and telling of it.
        return await asyncio.shield(settling)

    async def _settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> bool:
        try:
            await self._debts.settle(reference, answer)
        except DebtNotWritten as error:
            self._note_trouble(str(error), reference)
            return False
        outcome = unpayable(reference, answer)
        if outcome is not None:
            self._telemetry.debt_conflict(reference, outcome)
        return True

    def _note_trouble(self, why: str, reference: Reference | None = None) -> None:
        if not self._troubled:
            self._troubled = True
            _log.warning("debts cannot be paid yet", why=why, session_id=reference and reference.session_id)
