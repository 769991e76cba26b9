"""Figures as plain numbers, turned into Prometheus samples only when somebody scrapes.

Counting happens on the path of every request, scraping every few seconds: so counting is an addition to a
dictionary or a list, without the lock that a general metrics library takes each time. All of it runs on one event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import sidecar.model
from service_kit.extras import installed_version

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

Reading = float | Mapping[str, float]
"""What a gauge shows now: a number, or a number for each value of its one label."""


def build_info(profile: str, mode: str) -> dict[str, str]:
    """What runs: version, profile, mode, and whether the hot modules are compiled."""
    compiled = not str(sidecar.model.__file__).endswith(".py")
    return {"version": installed_version(), "profile": profile, "mode": mode, "compiled": str(compiled).lower()}


class Histogram:
    """How often a duration fell into each bucket; bounds are upper ones, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        """The samples of this histogram, cumulative as Prometheus wants them."""
        bounds = [*(repr(bound) for bound in SECONDS), "+Inf"]
        return HistogramMetricFamily(
            name, documentation, list(zip(bounds, accumulate(self.counts), strict=True)), self.total
        )


class Metrics(Collector):
    """Every figure that the sidecar publishes."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.session_calls: Counter[tuple[str, str]] = Counter()
        self.upstream_errors: Counter[str] = Counter()
        self.orphans_prevented = 0
        self.debt_conflicts = 0
        self.shadow_dropped = 0
        self.breaker_open = False
        self.events_connected = False
        self.session_call_seconds = Histogram()
        self.upstream_seconds = Histogram()
        self.overhead_seconds = Histogram()
        self._gauges: list[tuple[str, str, str, Callable[[], Reading]]] = []
        self._counters: list[tuple[str, str, str, Callable[[], Reading]]] = []

    def gauge(self, name: str, documentation: str, read: Callable[[], Reading], *, label: str = "") -> None:
        """Publish what `read` returns at each scrape; `label` names the label where it returns a mapping."""
        self._gauges.append((name, documentation, label, read))

    def counter(self, name: str, documentation: str, read: Callable[[], Reading], *, label: str = "") -> None:
        """Publish a number that only grows and is kept elsewhere."""
        self._counters.append((name, documentation, label, read))

    def collect(self) -> Iterator[Metric]:
        """All families, for a Prometheus registry."""
        yield _labelled("sidecar_requests", "Requests and MCP calls decided.", ("decision", "reason"), self.requests)
        yield _labelled(
            "sidecar_session_calls",
            "Calls to the session service by outcome.",
            ("operation", "outcome"),
            self.session_calls,
        )
        yield self.session_call_seconds.family("sidecar_session_call_seconds", "Duration of a session service call.")
        yield self.upstream_seconds.family("sidecar_upstream_seconds", "Time to the upstream's first response byte.")
        yield self.overhead_seconds.family("sidecar_overhead_seconds", "Time a request spent in the sidecar itself.")
        yield _read(
            CounterMetricFamily,
            "sidecar_upstream_errors",
            "Requests that the memory service left without an answer, or without a whole one, by reason.",
            "reason",
            self.upstream_errors,
        )
        yield CounterMetricFamily(
            "sidecar_orphan_writes_prevented",
            "Sessions that a write made, because nobody had created them.",
            value=self.orphans_prevented,
        )
        yield CounterMetricFamily(
            "sidecar_debt_conflicts", "Owed sessions that could not be created.", value=self.debt_conflicts
        )
        yield CounterMetricFamily(
            "sidecar_shadow_dropped", "Requests that shadow mode had no room to decide.", value=self.shadow_dropped
        )
        yield GaugeMetricFamily(
            "sidecar_breaker_open", "Whether the session service is not being asked.", value=self.breaker_open
        )
        yield GaugeMetricFamily(
            "sidecar_events_connected", "Whether the session event stream is up.", value=self.events_connected
        )
        for name, documentation, label, read in self._gauges:
            yield _read(GaugeMetricFamily, name, documentation, label, read())
        for name, documentation, label, read in self._counters:
            yield _read(CounterMetricFamily, name, documentation, label, read())


def registry_of(metrics: Metrics, build: Mapping[str, str]) -> CollectorRegistry:
    """A registry with all figures of this process: the sidecar's, those of the process itself, and what runs in it."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    Info("sidecar_build", "What runs.", registry=registry).info(dict(build))
    return registry


def _labelled(
    name: str, documentation: str, labels: tuple[str, str], values: Mapping[tuple[str, str], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for label_values, value in list(values.items()):
        family.add_metric(label_values, value)
    return family


def _read(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, documentation: str, label: str, now: Reading
) -> Metric:
    if not isinstance(now, Mapping):
        return kind(name, documentation, value=now)
    family = kind(name, documentation, labels=(label,))
    for label_value, value in now.items():
        family.add_metric((label_value,), value)
    return family
