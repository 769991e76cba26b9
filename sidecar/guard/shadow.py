"""Shadow mode: every request is forwarded at once, and decided on the side by lookups alone, if there is room.

It never creates, owes, refuses or delays a request; it only counts what it finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context, copy_context
from typing import Final

from sidecar.guard.decisions import Decision, OnEnded, decide, decide_by_session
from sidecar.guard.immediate_guard import ImmediateGuard, record_decisions
from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.ports import KnownSessions, SessionService, Telemetry
from sidecar.guard.session_resolver import SessionResolver
from sidecar.model import Allow, Call, Extraction, Grounds, Reference, RuleKind

PREFIX: Final = "shadow_"
"""Stands before the decision that would have been taken, wherever decisions are counted."""

ROOM: Final = 1_000
"""Extractions that may wait to be decided; what finds no room is dropped and counted."""

_WORKERS: Final = 8
logger = logging.getLogger(__name__)
_PASSED: Final = Allow(Grounds.PASSED)
_PERMIT: Final = Permit(SEAL, Grounds.PASSED)


class ShadowGuard(ImmediateGuard):
    """The guard of mode `shadow`: it permits every request.

    It needs a running event loop, and has to be closed. `timeout` is in seconds and covers everything that is asked
    of the session service for one call.
    """

    def __init__(
        self,
        known: KnownSessions,
        service: SessionService,
        telemetry: Telemetry,
        *,
        on_ended: OnEnded = OnEnded.FORWARD,
        timeout: float,
        room: int = ROOM,
    ) -> None:
        self._known = known
        self._resolver = SessionResolver(service, known)
        self._telemetry = telemetry
        self._on_ended = on_ended
        self._timeout = timeout
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
        await self._resolver.aclose()

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
        record_decisions(self._telemetry, extraction.calls, await self._decide_calls(extraction.calls), PREFIX)

    async def _decide_calls(self, calls: Sequence[Call]) -> list[Decision]:
        return [call.refusal or await self._decide(call.reference) for call in calls]

    async def _decide(self, reference: Reference | None) -> Decision:
        if reference is None or reference.kind is RuleKind.PASS:
            return _PASSED
        session = self._known.get(reference.key)
        if session is not None:
            return decide_by_session(reference, session, Grounds.KNOWN, self._on_ended)
        deadline = asyncio.get_running_loop().time() + self._timeout
        return decide(reference, await self._resolver.look(reference, deadline), self._on_ended)
