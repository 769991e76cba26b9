"""What the dashboard shows, as one JSON document: figures since the start, health, and the last problems.

Rates and quantiles are differences between two such documents; the page computes them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from sidecar.admin.health import Health, HealthProbe
from sidecar.observability.metrics import SECONDS, Metrics, Reading
from sidecar.observability.recent import RecentProblems
from sidecar.observability.remedies import REMEDIES

_FOLLOWS_EVENTS: Final = {
    True: Health("up", "deletions and ends arrive at once"),
    False: Health("warning", "lost: what is known is believed for 30 s at most"),
}
_BREAKER: Final = {
    False: Health("up", "closed: the session service is asked"),
    True: Health("down", "open: calls are held back, one at a time tries"),
}
_CREATES: Final = {
    0: Health("up", "sessions are created where they are missing"),
    1: Health("down", "stopped: the session service gave a session an id of its own"),
}
_NO_OUTBOX: Final = Health("off", "not in use (SIDECAR_ON_OUTAGE=reject)")
_OFF: Final = Health("off", "not in use")
_IN_PROCESS: Final = Health("up", "an application in this process")


class DashboardState:
    """Collects the document. `identity` says what runs; `session_service` and `upstream` name the URLs to probe.

    `upstream` is None where the memory service is an application in this process.
    `session_service` is None where sessions are not looked at. `follows_events` is False where no event stream is used,
    `has_outbox` where nothing is ever owed.
    """

    def __init__(
        self,
        metrics: Metrics,
        recent: RecentProblems,
        identity: Mapping[str, str],
        *,
        upstream: Callable[[], str | None] | None,
    ) -> None:
        self.session_service: HealthProbe | None = None
        self.follows_events = False
        self.has_outbox = False
        self._metrics = metrics
        self._recent = recent
        self._identity = dict(identity)
        self._upstream = None if upstream is None else HealthProbe(upstream)
        self._started = time.time()

    async def collect(self) -> dict[str, Any]:
        """Give the document. Takes as long as a health probe at most, and never raises for what a service does."""
        metrics = self._metrics
        decisions: Counter[str] = Counter()
        refusals: Counter[str] = Counter()
        for (decision, reason), count in metrics.requests.items():
            decisions[decision] += count
            if reason:
                refusals[reason] += count
        return {
            "at": time.time(),
            "started": self._started,
            "identity": self._identity,
            "prevented": metrics.orphans_prevented,
            "decisions": decisions,
            "refusals": refusals,
            "upstream_errors": metrics.upstream_errors,
            "lookups": metrics.reading("sidecar_known_session_lookups"),
            "known_sessions": metrics.reading("sidecar_known_sessions"),
            "overhead": {"bounds": SECONDS, "counts": metrics.overhead_seconds.counts},
            "health": await self._health(),
            "problems": self._problems(),
        }

    async def _health(self) -> list[dict[str, str]]:
        session_service, upstream = await asyncio.gather(
            _looked_at(self.session_service, _OFF), _looked_at(self._upstream, _IN_PROCESS)
        )
        metrics = self._metrics
        creates = metrics.reading("sidecar_creation_stopped")
        is_asked = self.session_service is not None
        parts = {
            "Session service": session_service,
            "Memory service": upstream,
            "Breaker": _BREAKER[metrics.breaker_open] if is_asked else _OFF,
            "Event stream": _FOLLOWS_EVENTS[metrics.events_connected] if self.follows_events else _OFF,
            "Outbox": _outbox(metrics.reading("sidecar_debts")) if self.has_outbox else _NO_OUTBOX,
            "Creation": _OFF if creates is None else _CREATES[int(creates == 1)],
        }
        return [{"name": name, **asdict(health)} for name, health in parts.items()]

    def _problems(self) -> list[dict[str, Any]]:
        found = [
            {
                "kind": kind,
                "count": problems.count,
                "means": REMEDIES[kind].means,
                "do": REMEDIES[kind].do,
                "last": [{"at": at, **fields} for at, fields in reversed(problems.last)],
            }
            for kind, problems in self._recent.kinds.items()
        ]
        return sorted(found, key=lambda problem: problem["last"][0]["at"], reverse=True)


async def _looked_at(probe: HealthProbe | None, without: Health) -> Health:
    return without if probe is None else await probe.look()


def _outbox(debts: Reading | None) -> Health:
    if debts:
        return Health("warning", f"{debts:.0f} sessions are owed to the session service")
    return Health("up", "nothing is owed")
