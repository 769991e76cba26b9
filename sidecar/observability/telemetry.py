"""What happened, told twice: as figures for a machine and as one readable log line for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from sidecar.model import Reason, Reference
from sidecar.observability.metrics import Metrics

_QUIET: Final = frozenset({"known", "passed"})
_PREVENTING: Final = frozenset(
    {
        Reason.SESSION_OWNED_BY_ANOTHER_USER,
        Reason.SESSION_NOT_FOUND,
        Reason.SESSION_GONE,
        Reason.SESSION_ENDED,
        Reason.SESSION_SERVICE_UNAVAILABLE,
        Reason.SESSION_SERVICE_UNTRUSTWORTHY,
    }
)


class LoggedMetrics:
    """The `Telemetry` port over `Metrics` and a structured log."""

    def __init__(self, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._metrics = metrics
        self._log = log
        self.upstream: Callable[[float], None] = metrics.upstream_seconds.observe
        self.overhead: Callable[[float], None] = metrics.overhead_seconds.observe

    def decided(self, decision: str, reason: Reason | None = None, reference: Reference | None = None) -> None:
        """Count the decision; log it unless it is plain `known` or `passed`."""
        self._metrics.requests[(decision, reason or "")] += 1
        if decision in _QUIET:
            return
        if decision == "created" or (decision == "refused" and reason in _PREVENTING):
            self._metrics.orphans_prevented += 1
        fields: dict[str, str] = {}
        if reason is not None:
            fields["reason"] = reason.value
        if reference is not None:
            fields["session_id"] = reference.session_id
            if reference.user_id is not None:
                fields["user_id"] = reference.user_id
        if decision == "refused":
            self._log.warning("write refused", decision=decision, **fields)
        else:
            self._log.info("write decided", decision=decision, **fields)

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one call to the session service and how long it took."""
        self._metrics.session_calls[(operation, outcome)] += 1
        self._metrics.session_call_seconds.observe(seconds)

    def breaker(self, *, is_open: bool) -> None:
        """Note that the breaker opened or closed."""
        if is_open == self._metrics.breaker_open:
            return
        self._metrics.breaker_open = is_open
        if is_open:
            self._log.warning("the session service does not answer; calls to it are held back")
        else:
            self._log.info("the session service answers again")

    def events_connected(self, *, connected: bool) -> None:
        """Note that the event stream came up or was lost."""
        self._metrics.events_connected = connected

    def debt_conflict(self, reference: Reference, outcome: str) -> None:
        """Note a session that was owed and cannot be created."""
        self._metrics.debt_conflicts += 1
        self._log.error(
            "an owed session could not be created; its writes were let through during the outage",
            outcome=outcome,
            session_id=reference.session_id,
            user_id=reference.user_id,
        )

    def shadow_dropped(self) -> None:
        """Count a request that shadow mode let go undecided."""
        self._metrics.shadow_dropped += 1
