"""Every metric of the sidecar: type, labels and what it counts.

The help texts of `/metrics` and the table in docs/metrics.md are these. Names follow Prometheus: base units,
`_total` on counters, `_info` where only the labels say something.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Described(NamedTuple):
    """One metric. `name` is the name of its family, without the `_total` of a counter."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()


CATALOG: Final = {
    metric.name: metric
    for metric in (
        Described("sidecar_requests", "counter", "Requests and MCP calls decided.", ("decision", "reason")),
        Described(
            "sidecar_orphan_writes_prevented", "counter", "Sessions that a write made because they did not exist."
        ),
        Described(
            "sidecar_responses",
            "counter",
            "Responses to clients, and answers of the authoriser, by class of status.",
            ("code",),
        ),
        Described("sidecar_overhead_seconds", "histogram", "Time a request spent in the sidecar itself."),
        Described("sidecar_upstream_seconds", "histogram", "Time to the upstream's first response byte."),
        Described(
            "sidecar_upstream_errors",
            "counter",
            "Requests that the memory service left without an answer, or without a whole one, by reason.",
            ("reason",),
        ),
        Described("sidecar_upstream_connections", "gauge", "Connections to the upstream.", ("state",)),
        Described(
            "sidecar_session_calls", "counter", "Calls to the session service by outcome.", ("operation", "outcome")
        ),
        Described("sidecar_session_call_seconds", "histogram", "Duration of a session service call."),
        Described("sidecar_known_sessions", "gauge", "Sessions in the cache."),
        Described("sidecar_known_session_lookups", "counter", "Looks into the cache of known sessions.", ("outcome",)),
        Described("sidecar_breaker_open", "gauge", "Whether the session service is not being asked."),
        Described("sidecar_events_connected", "gauge", "Whether the session event stream is up."),
        Described(
            "sidecar_creation_stopped",
            "gauge",
            "Whether no more sessions are created, because the session service gave one an id of its own.",
        ),
        Described("sidecar_debts", "gauge", "Sessions owed to the session service."),
        Described("sidecar_debt_conflicts", "counter", "Owed sessions that could not be created."),
        Described(
            "sidecar_unguarded_session_writes", "counter", "Writes that passed although a watched name stands in them."
        ),
        Described("sidecar_shadow_dropped", "counter", "Requests that shadow mode had no room to decide."),
        Described("sidecar_build", "info", "What runs.", ("version", "profile", "mode", "compiled")),
    )
}
