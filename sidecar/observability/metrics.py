"""Figures as plain numbers, turned into Prometheus samples only at a scrape.

Counting happens on the path of every request, scraping every few seconds: so counting is an addition to a
dictionary or a list, without the lock that a general metrics library takes each time. All of it runs on one event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import sidecar.model
from service_kit.process.extras import installed_version
from sidecar.observability.catalog import CATALOG

# fmt: off
SECONDS: Final[tuple[float, ...]] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)
# fmt: on

Reading = float | Mapping[str, float] | Mapping[tuple[str, str], float]
"""What a gauge or counter shows now: a number, or a number for each value of its labels."""


def build_info(profile: str, mode: str) -> dict[str, str]:
    """What runs: version, profile, mode, and whether the hot modules are compiled."""
    compiled = str(is_compiled()).lower()
    return {"version": installed_version(), "profile": profile, "mode": mode, "compiled": compiled}


def is_compiled() -> bool:
    """Whether the modules that compiled.txt names run as extension modules."""
    return not str(sidecar.model.__file__).endswith(".py")


class Histogram:
    """How often a duration fell into each bucket; bounds are upper ones, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        # Most durations fall into the first buckets, so a search from the start is the shortest.
        bucket = 0
        for bound in SECONDS:
            if seconds <= bound:
                break
            bucket += 1
        self.counts[bucket] += 1
        self.total += seconds

    def family(self, name: str) -> HistogramMetricFamily:
        """The samples of this histogram, cumulative as Prometheus wants them."""
        bounds = [*(repr(bound) for bound in SECONDS), "+Inf"]
        return HistogramMetricFamily(
            name, CATALOG[name].help, list(zip(bounds, accumulate(self.counts), strict=True)), self.total
        )


class Metrics(Collector):
    """Every figure that the sidecar publishes."""

    def __init__(self) -> None:
        self._decisions: Counter[tuple[str, str]] = Counter()
        # The decisions of the fast path: an attribute costs a tenth of an entry of a dictionary.
        self._known = self._passed = 0
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
        self.unguarded_writes = 0
        self._readings: dict[str, Callable[[], Reading]] = {
            "sidecar_requests": lambda: self.requests,
            "sidecar_orphan_writes_prevented": lambda: self.orphans_prevented,
            "sidecar_upstream_errors": lambda: self.upstream_errors,
            "sidecar_session_calls": lambda: self.session_calls,
            "sidecar_breaker_open": lambda: self.breaker_open,
            "sidecar_debts": lambda: 0,
            "sidecar_debt_conflicts": lambda: self.debt_conflicts,
            "sidecar_unguarded_session_writes": lambda: self.unguarded_writes,
            "sidecar_shadow_dropped": lambda: self.shadow_dropped,
        }

    def count_decision(self, decision: str, reason: str) -> None:
        """Count one decision, with the reason of a refusal or an empty one."""
        if decision == "known":
            self._known += 1
        elif decision == "passed":
            self._passed += 1
        else:
            self._decisions[decision, reason] += 1

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """The decisions so far, by decision and reason."""
        hot = {("known", ""): self._known, ("passed", ""): self._passed}
        return {**{key: count for key, count in hot.items() if count}, **self._decisions}

    def publish(self, name: str, read: Callable[[], Reading]) -> None:
        """Publish what `read` returns at each scrape, under a name of the catalog. Raises KeyError for another name."""
        self._readings[CATALOG[name].name] = read

    def reading(self, name: str) -> Reading | None:
        """Give what the gauge or counter of this name shows now; None where it is not published."""
        read = self._readings.get(name)
        return None if read is None else read()

    def collect(self) -> Iterator[Metric]:
        """All families, for a Prometheus registry."""
        yield self.session_call_seconds.family("sidecar_session_call_seconds")
        yield self.upstream_seconds.family("sidecar_upstream_seconds")
        yield self.overhead_seconds.family("sidecar_overhead_seconds")
        for name, read in self._readings.items():
            yield _family(name, read())


def registry_of(metrics: Metrics, build: Mapping[str, str]) -> CollectorRegistry:
    """A registry with all figures of this process: the sidecar's, those of the process itself, and what runs in it."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    Info("sidecar_build", CATALOG["sidecar_build"].help, registry=registry).info(dict(build))
    return registry


def _family(name: str, now: Reading) -> Metric:
    metric = CATALOG[name]
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    if not isinstance(now, Mapping):
        return kind(name, metric.help, value=now)
    family = kind(name, metric.help, labels=metric.labels)
    for label_values, value in list(now.items()):
        family.add_metric((label_values,) if isinstance(label_values, str) else label_values, value)
    return family
