"""Records what happened twice: as metrics, and as one readable log line."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache
from structlog.typing import FilteringBoundLogger

from sidecar.guard.ports import Telemetry
from sidecar.model import Reason, Reference, SessionKey
from sidecar.observability.flood import FloodLimit
from sidecar.observability.metrics import Metrics
from sidecar.observability.recent import RecentProblems
from sidecar.observability.remedies import DEBT_CONFLICT, UNGUARDED_WRITE
from sidecar.request_context import RequestContext, current_request

_QUIET: Final = frozenset({"known", "passed", "shadow_known", "shadow_passed"})
_ANSWERS_KEPT: Final = 1_000
_ROUTES_KEPT: Final = 1_000

HOUR: Final = 3600.0
"""Seconds until an unguarded write to the same route is logged again."""

_MAY_BE_AN_ID: Final = re.compile(r"(?!v\d+$)(.*\d.*|.{25,})", re.DOTALL)


class LoggedMetrics(Telemetry):
    """The `Telemetry` port over `Metrics` and a structured log.

    Of lines with the same decision and reason, ten in a second are written and the others counted. `upstream_url` is
    named where the memory service fails. `on_session_call` is called for each call too. `clock` gives seconds.
    """

    def __init__(
        self,
        metrics: Metrics,
        log: FilteringBoundLogger,
        *,
        upstream_url: str = "",
        recent: RecentProblems | None = None,
        on_session_call: Callable[[str, str, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics
        self._log = log
        self._upstream_url = upstream_url
        self.recent = recent or RecentProblems()
        self._flood = FloodLimit(clock)
        self._reporting: asyncio.TimerHandle | None = None
        self._on_session_call = on_session_call
        self._clock = clock
        self._routes_logged: LRUCache[str, float] = LRUCache(_ROUTES_KEPT)
        # What the session service answered last about each session that was asked about lately: (answer, address).
        self._answers: LRUCache[SessionKey, tuple[str, str]] = LRUCache(_ANSWERS_KEPT)

    def decided(
        self,
        decision: str,
        reason: Reason | None = None,
        reference: Reference | None = None,
        detail: str | None = None,
    ) -> None:
        """Count the decision; log it unless it is plain `known` or `passed`."""
        self.metrics.count_decision(decision, reason or "")
        request = current_request()
        if request is not None:
            request.decision, request.reason = decision, reason
        if decision in _QUIET:
            return
        fields: dict[str, str] = {"decision": decision}
        if reason is not None:
            fields["reason"] = reason.value
        if detail is not None:
            fields["detail"] = detail
        if reference is not None:
            fields |= self._session_fields(reference)
        fields |= _request_fields(request)
        event, level = ("write refused", "warning") if decision == "refused" else ("write decided", "info")
        if decision == "refused" and reason is not None:
            self.recent.add(reason, fields)
        self._write(level, f"{event}: {reason or decision}", event, fields)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """Count and log that the memory service gave no answer, or no whole one, to the current request."""
        self.metrics.upstream_errors[reason] += 1
        fields = {"reason": reason.value, "detail": detail, "upstream": self._upstream_url}
        request = current_request()
        if request is not None:
            request.failure = reason
        fields |= _request_fields(request)
        self.recent.add(reason, fields)
        event = "the memory service failed"
        self._write("warning", f"{event}: {reason}", event, fields)

    def unguarded_write(self) -> None:
        """Count a write that passed although a watched name stands in it; log it once an hour for each route."""
        self.metrics.unguarded_writes += 1
        fields = _request_fields(current_request())
        self.recent.add(UNGUARDED_WRITE, fields)
        route, now = route_of(fields.get("path", "")), self._clock()
        if now - self._routes_logged.get(route, -HOUR) >= HOUR:
            self._routes_logged[route] = now
            event = "writes that name a session pass unguarded"
            self._write("warning", event, event, fields | {"route": route})

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one call to the session service and how long it took; one that made a session prevented an orphan."""
        self.metrics.session_calls[(operation, outcome)] += 1
        self.metrics.session_call_seconds.observe(seconds)
        if self._on_session_call is not None:
            self._on_session_call(operation, outcome, seconds)
        if outcome == "created":
            self.metrics.orphans_prevented += 1

    def session_answer(self, reference: Reference, answer: str, address: str) -> None:
        """Remember what the session service answered, for the line of a refusal that follows from it."""
        self._answers[reference.key] = answer, address

    def _session_fields(self, reference: Reference) -> dict[str, str]:
        fields = {"session_id": "/".join((*reference.scope, reference.session_id))}
        if reference.user_id is not None:
            fields["user_id"] = reference.user_id
        if (answered := self._answers.get(reference.key)) is not None:
            fields["session_service_answer"], fields["session_service"] = answered
        return fields

    def _write(self, level: str, kind: str, event: str, fields: dict[str, str]) -> None:
        self._report_withheld()
        if self._flood.admits(kind):
            getattr(self._log, level)(event, **fields)
        elif self._reporting is None:
            with contextlib.suppress(RuntimeError):  # no loop runs: the next line reports
                self._reporting = asyncio.get_running_loop().call_later(1.0, self._report_in_time)

    def _report_in_time(self) -> None:
        self._reporting = None
        self._report_withheld()

    def _report_withheld(self) -> None:
        for kind, count in self._flood.withheld().items():
            self._log.warning("lines were withheld", kind=kind, count=count)

    def breaker(self, *, is_open: bool) -> None:
        if is_open == self.metrics.breaker_open:
            return
        self.metrics.breaker_open = is_open
        if is_open:
            self._log.warning("the session service does not answer; calls to it are held back")
        else:
            self._log.info("the session service answers again")

    def events_connected(self, *, connected: bool) -> None:
        self.metrics.events_connected = connected

    def debt_conflict(self, reference: Reference, outcome: str) -> None:
        self.metrics.debt_conflicts += 1
        fields = {"outcome": outcome, "session_id": reference.session_id, "user_id": reference.user_id or ""}
        self.recent.add(DEBT_CONFLICT, fields)
        self._log.error("an owed session could not be created; its writes were let through during the outage", **fields)

    def shadow_dropped(self) -> None:
        self.metrics.shadow_dropped += 1

    def upstream(self, seconds: float) -> None:
        self.metrics.upstream_seconds.observe(seconds)

    def overhead(self, seconds: float) -> None:
        self.metrics.overhead_seconds.observe(seconds)


def route_of(path: str) -> str:
    """The path with `*` in place of each segment that looks like an id: one with a digit, or a long one."""
    return "/".join("*" if _MAY_BE_AN_ID.fullmatch(segment) else segment for segment in path.split("/"))


def _request_fields(request: RequestContext | None) -> dict[str, str]:
    if request is None:
        return {}
    return {"request_id": request.id, "method": request.method, "path": request.path}
