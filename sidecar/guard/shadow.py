"""Shadow mode: every request is forwarded at once, and decided on the side by lookups alone, if there is room.

It never creates, owes, refuses or delays a request; it only counts what it finds.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context, copy_context
from typing import Final

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decider import Decided, Decider, Owe, Plan
from sidecar.guard.decisions import Allow, Create, Policy, cannot_create
from sidecar.guard.guard import ImmediateGuard, record_decisions
from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.ports import SessionService, Telemetry
from sidecar.model import Extraction, Grounds, Reference

PREFIX: Final = "shadow_"
"""Stands before the decision that would have been taken, wherever decisions are counted."""

ROOM: Final = 1_000
"""Extractions that may wait to be decided; what finds no room is dropped and counted."""

_WORKERS: Final = 8
logger = logging.getLogger(__name__)
_PERMIT: Final = Permit(SEAL, Grounds.PASSED)


class _Forecaster(Decider):
    """Decides as enforcement would, by look-ups alone: what would be created or owed is allowed as it stands.

    `creates` says whether the session service creates sessions under the ids that it is given.
    """

    def __init__(self, known: SessionCache, service: SessionService, policy: Policy, *, creates: bool) -> None:
        super().__init__(known, service, policy)
        self._creates = creates

    async def make_sure(self, reference: Reference, deadline: float) -> Decided:
        """Look the session up, for every kind of rule."""
        return await self.carry_out(reference, await self.plan(reference, deadline), deadline)

    async def carry_out(self, reference: Reference, plan: Plan, deadline: float) -> Decided:  # noqa: ARG002 # asks nothing
        """Say what would have come of the plan."""
        if isinstance(plan, Create):
            return Allow(Grounds.CREATED) if self._creates else cannot_create(reference)
        return Allow(Grounds.OWED) if isinstance(plan, Owe) else plan


class ShadowGuard(ImmediateGuard):
    """The guard of mode `shadow`: it permits every request.

    It needs a running event loop, and has to be closed. `creates` says whether the session service creates sessions
    under the ids that it is given.
    """

    def __init__(
        self,
        known: SessionCache,
        service: SessionService,
        telemetry: Telemetry,
        policy: Policy,
        *,
        creates: bool = True,
        room: int = ROOM,
    ) -> None:
        self._forecaster = _Forecaster(known, service, policy, creates=creates)
        self._telemetry = telemetry
        # Each extraction comes with the context of its request, so that its log lines name it.
        self._waiting: asyncio.Queue[tuple[Extraction, Context]] = asyncio.Queue(room)
        self._workers: list[asyncio.Task[None]] = []

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        self._telemetry.decided(f"{PREFIX}passed")
        return _PERMIT

    def permit_known(self, extraction: Extraction) -> None:  # it permits none
        """Permit nothing at once: the fast path leaves no moment to look afterwards."""

    def permit_unread(self) -> Permit:
        """Permit a guarded request that is decided on the side; `observe` counts it."""
        return _PERMIT

    def observe(self, extraction: Extraction) -> None:
        """Decide an extraction later, if there is room."""
        if not self._workers:
            self._workers = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]
        try:
            self._waiting.put_nowait((extraction, copy_context()))
        except asyncio.QueueFull:
            self._telemetry.shadow_dropped()

    async def drained(self) -> None:
        """Wait until everything taken in so far is decided."""
        await self._waiting.join()

    async def aclose(self) -> None:
        """Stop deciding; what still waits is left undecided."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._forecaster.aclose()

    async def _work(self) -> None:
        while True:
            extraction, context = await self._waiting.get()
            try:
                await asyncio.create_task(self._record(extraction), context=context)
            except Exception:
                logger.exception("shadow mode could not decide a request")
            finally:
                self._waiting.task_done()

    async def _record(self, extraction: Extraction) -> None:
        decisions = await self._forecaster.decide(extraction.calls)
        record_decisions(self._telemetry, extraction.calls, decisions, PREFIX)
