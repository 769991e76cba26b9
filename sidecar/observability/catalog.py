"""Every metric of the sidecar: type, labels, what it counts, and what a change in it means for an operator.

The help texts of `/metrics` and the table in docs/metrics.md are these. Names follow Prometheus: base units, `_total`
on counters, `_info` where only the labels say something.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Described(NamedTuple):
    """One metric. `name` is the name of its family, without the `_total` of a counter."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    labels: tuple[str, ...]
    help: str
    change: str


CATALOG: Final = {
    metric.name: metric
    for metric in (
        Described(
            "sidecar_requests",
            "counter",
            ("decision", "reason"),
            "Requests and MCP calls decided.",
            "A rise of `refused` has its cause in `reason`. `owed` appears only in an outage under `forward`.",
        ),
        Described(
            "sidecar_orphan_writes_prevented",
            "counter",
            (),
            "Sessions that a write made because they did not exist.",
            "Its rate is the rate of new sessions whose clients do not create them. Zero means that all do.",
        ),
        Described(
            "sidecar_responses",
            "counter",
            ("code",),
            "Responses to clients, and answers of the authoriser, by class of status.",
            "`5xx` beyond `sidecar_upstream_errors_total` and refusals of that class are the memory service's own.",
        ),
        Described(
            "sidecar_overhead_seconds",
            "histogram",
            (),
            "Time a request spent in the sidecar itself.",
            "A rise of the median means a lack of processor time; of p99 alone, more sessions that are not cached.",
        ),
        Described(
            "sidecar_upstream_seconds",
            "histogram",
            (),
            "Time to the upstream's first response byte.",
            "A rise is the memory service's: the sidecar's own time is in `sidecar_overhead_seconds`.",
        ),
        Described(
            "sidecar_upstream_errors",
            "counter",
            ("reason",),
            "Requests that the memory service left without an answer, or without a whole one, by reason.",
            "Any steady rate means a memory service that refuses, breaks or exceeds `SIDECAR_UPSTREAM_TIMEOUT`.",
        ),
        Described(
            "sidecar_upstream_connections",
            "gauge",
            ("state",),
            "Connections to the upstream.",
            "`waiting` above zero means that `SIDECAR_UPSTREAM_CONNECTIONS` is reached.",
        ),
        Described(
            "sidecar_session_calls",
            "counter",
            ("operation", "outcome"),
            "Calls to the session service by outcome.",
            "A rise of `unknown` is an outage; of all, a cache that is too small or an event stream that is lost.",
        ),
        Described(
            "sidecar_session_call_seconds",
            "histogram",
            (),
            "Duration of a session service call.",
            "First writes to a session wait this long. Near `SIDECAR_SESSION_TIMEOUT`, they begin to be refused.",
        ),
        Described(
            "sidecar_known_sessions",
            "gauge",
            (),
            "Sessions in the cache.",
            "At `SIDECAR_CACHE_SIZE` the cache evicts: raise it if the hit ratio falls.",
        ),
        Described(
            "sidecar_known_session_lookups",
            "counter",
            ("outcome",),
            "Looks into the cache of known sessions.",
            "The share of `hit` is the hit ratio. It falls after a restart, without events, and with a full cache.",
        ),
        Described(
            "sidecar_breaker_open",
            "gauge",
            (),
            "Whether the session service is not being asked.",
            "1 after several failures in a row: writes to sessions that are not cached get 503 at once.",
        ),
        Described(
            "sidecar_events_connected",
            "gauge",
            (),
            "Whether the session event stream is up.",
            "0 shortens the life of what is cached to 30 s, so more lookups follow.",
        ),
        Described(
            "sidecar_creation_stopped",
            "gauge",
            (),
            "Whether no more sessions are created, because the session service gave one an id of its own.",
            "1 until a restart: every write to a session that does not exist is refused.",
        ),
        Described(
            "sidecar_debts",
            "gauge",
            (),
            "Sessions owed to the session service.",
            "Grows in an outage with `SIDECAR_ON_OUTAGE=forward`, and falls to 0 after it.",
        ),
        Described(
            "sidecar_debt_conflicts",
            "counter",
            (),
            "Owed sessions that could not be created.",
            "Each is a session whose memories are stored and that belongs to another user or was deleted.",
        ),
        Described(
            "sidecar_unguarded_session_writes",
            "counter",
            (),
            "Writes that passed although a watched name stands in them.",
            "Any rate means a path that the profile has no rule for. The log names the path once an hour.",
        ),
        Described(
            "sidecar_shadow_dropped",
            "counter",
            (),
            "Requests that shadow mode had no room to decide.",
            "Any rate means that the counts of `shadow_…` decisions are too low.",
        ),
        Described(
            "sidecar_build",
            "info",
            ("version", "profile", "mode", "compiled"),
            "What runs.",
            "Always 1; the labels change with a deployment.",
        ),
    )
}

_SUFFIXES: Final = {"counter": "_total", "info": "_info", "gauge": "", "histogram": ""}


def published(metric: Described) -> str:
    """The name of the metric in the text format of Prometheus."""
    return metric.name + _SUFFIXES[metric.type]
