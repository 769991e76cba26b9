"""Pays debts: creates the owed sessions as soon as the session service answers, and takes them out of the journal.

One process at a time pays from a file. The lock is the operating system's, so it ends with the process that holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.ports import DebtNotWritten, Debts, SessionService, Telemetry
from sidecar.guard.session_resolver import remember
from sidecar.guard.verdicts import Conflict, Created, Found, Gone, Invalid, Unknown, Untrustworthy, Verdict
from sidecar.model import Reference
from sidecar.outbox.outbox import unpayable

LOOK_EVERY: Final = 0.1
"""Seconds between two looks for debts, which may be another process's."""

LONGEST_BACKOFF: Final = 1.0

FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 60.0
"""Seconds until debts that were set aside are tried again: the first time, and at most, after doubling each time."""

AT_ONCE: Final = 32

_log = structlog.get_logger()


@contextlib.contextmanager
def relay_lock(path: Path) -> Iterator[bool]:
    """Hold the right to pay from the journal at `path` for the block; False where another process has it.

    The lock is a file beside the journal. Raises OSError where that cannot be opened.
    """
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class OutboxRelay:
    """Pays in the background what is in the file, debts of ended processes included.

    A debt that fails while the session service answers is set aside: it is tried again, with growing pauses, and holds
    up no other. What the service answers of a session is remembered in `known`, as after a write.
    """

    def __init__(
        self, debts: Debts, service: SessionService, known: SessionCache, telemetry: Telemetry, path: Path
    ) -> None:
        """`path` is the journal's."""
        self._debts = debts
        self._service = service
        self._known = known
        self._telemetry = telemetry
        self._path = path
        self._task: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[None]] = set()
        # What the session service has answered although the file, on a full disk perhaps, does not take it.
        self._unwritten: dict[Reference, Found | Created | Conflict | Gone] = {}
        self._troubled = False
        self._retry_pause = FIRST_RETRY
        self._retry_at = 0.0

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
        loop = asyncio.get_running_loop()
        while True:
            if (began := loop.time()) >= self._retry_at:
                await self._in_turn(self._retry_all)
                # A round is followed by a pause at least as long, however many debts were set aside.
                self._retry_at = loop.time() + max(self._retry_pause, loop.time() - began)
            if self._debts.any_owed() and not await self._in_turn(self._pay_all):
                failures = min(failures + 1, 10)
                longest = min(LONGEST_BACKOFF, LOOK_EVERY * 2**failures)
                await asyncio.sleep(random.uniform(LOOK_EVERY, longest))  # noqa: S311 # spreads load, keeps no secret
            else:
                failures = 0
                await asyncio.sleep(LOOK_EVERY)

    async def _in_turn(self, pay: Callable[[], Awaitable[bool]]) -> bool:
        """Pay while this process has the right to; false where it has to wait for something."""
        try:
            # Held for one round: another process may reach a session service that this one cannot.
            with relay_lock(self._path) as is_ours:
                return is_ours and await pay()
        except (DebtNotWritten, OSError) as error:
            self._note_trouble(str(error))
            return False

    async def _pay_all(self) -> bool:
        """Pay until nothing is due; false where the session service does not answer, or the file takes no answer."""
        for reference, answer in list(self._unwritten.items()):
            await self._settle(reference, answer)
            if reference in self._unwritten:
                break
        while due := await self._unanswered():
            paid, set_aside = await self._pay_batch(due)
            if set_aside:
                # Soon at first, because the cause may be gone in a moment.
                self._retry_pause = FIRST_RETRY
                self._retry_at = asyncio.get_running_loop().time() + FIRST_RETRY
                _log.warning("debts that cannot be paid are set aside", sessions=set_aside)
            if not paid + set_aside:
                return False
            self._troubled = bool(self._unwritten)
        return not self._unwritten

    async def _unanswered(self) -> list[Reference]:
        """Give the oldest debts, but for those that the session service has answered."""
        due = await self._debts.due(AT_ONCE + len(self._unwritten))
        return [reference for reference in due if reference not in self._unwritten]

    async def _retry_all(self) -> bool:
        """Try each debt that was set aside once, those that are due before it; false in an outage."""
        self._retry_pause = min(self._retry_pause * 2, LONGEST_RETRY)
        tried: set[Reference] = set()
        # What fails goes behind the others, so the round is over when only debts come up that were tried in it.
        while untried := [one for one in await self._debts.due(AT_ONCE, set_aside=True) if one not in tried]:
            if self._debts.any_owed() and not await self._pay_all():
                return False
            tried.update(untried)
            paid, _ = await self._pay_batch(untried)
            if paid:
                self._retry_pause = FIRST_RETRY
        return True

    async def _pay_batch(self, due: Sequence[Reference]) -> tuple[int, int]:
        """Try these debts; gives how many were paid and how many set aside."""
        answers = await asyncio.gather(*map(self._pay, due))
        failed = [(reference, answer) for reference, answer in zip(due, answers, strict=True) if answer is not None]
        paid = len(due) - len(failed)
        if paid:
            _log.info("owed sessions paid", sessions=paid)
        unknown = [reference for reference, answer in failed if isinstance(answer, Unknown)]
        # Asked about one of these: for another debt there may be no call to make.
        if unknown and not await self._is_answered(unknown[0]):
            self._note_trouble("the session service does not answer")
            failed = [(reference, answer) for reference, answer in failed if not isinstance(answer, Unknown)]
        for reference, answer in failed:
            await self._debts.set_aside(reference, _why(answer))
        return paid, len(failed)

    async def _is_answered(self, like: Reference) -> bool:
        """Whether the session service answers at all, asked about a session that cannot exist."""
        answer = await self._service.look(replace(like, session_id=str(uuid.uuid4())))
        return not isinstance(answer, Unknown)

    async def _pay(self, reference: Reference) -> Verdict | None:
        """Try one debt; gives the answer that leaves it unpaid, or None."""
        ticket = self._known.ticket_to_ask(reference.key)
        answer = Gone() if ticket is None else await self._service.ensure(reference)
        if not isinstance(answer, Found | Created | Conflict | Gone):
            return answer
        if ticket is not None:
            remember(self._known, reference, answer, ticket)
        settling = asyncio.create_task(self._settle(reference, answer))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        # A cancellation must not come between taking a debt out and reporting it.
        await asyncio.shield(settling)
        return None

    async def _settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        try:
            await self._debts.settle(reference, answer)
        except DebtNotWritten as error:
            self._note_trouble(str(error), reference)
            self._unwritten[reference] = answer
            return
        self._unwritten.pop(reference, None)
        outcome = unpayable(reference, answer)
        if outcome is not None:
            self._telemetry.debt_conflict(reference, outcome)

    def _note_trouble(self, why: str, reference: Reference | None = None) -> None:
        if not self._troubled:
            self._troubled = True
            _log.warning("debts cannot be paid yet", why=why, session_id=reference and reference.session_id)


def _why(answer: Verdict) -> str:
    if isinstance(answer, Unknown | Untrustworthy | Invalid):
        return answer.why
    return "the session service cannot create it"
