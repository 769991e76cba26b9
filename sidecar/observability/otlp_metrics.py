"""Pushes the figures of `/metrics` to an OpenTelemetry collector (OTLP over HTTP), under the same names.

Imported only where that is on. Each figure is converted as the specification "Prometheus and OpenMetrics Compatibility"
says; the SDK's instruments are passed by, since they can observe no histogram that is counted already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from opentelemetry.exporter.otlp.proto.http import metric_exporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample
from structlog.typing import FilteringBoundLogger

from sidecar.observability.otlp import LAST_EXPORT, in_daemon_thread, resource_of

_INTERVAL: Final = 60.0
_UNITS: Final = {"seconds": "s", "bytes": "By"}
"""UCUM units, which OpenTelemetry uses, by the suffixes of Prometheus."""


class MetricsExport:
    """Exports the figures of a registry at the interval of `OTEL_METRIC_EXPORT_INTERVAL`, and once more at the end.

    `exporter` is OTLP over HTTP where none is given: `OTEL_EXPORTER_OTLP_*` says where to. Values are cumulative.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        version: str,
        log: FilteringBoundLogger,
        *,
        exporter: MetricExporter | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._registry = registry
        self._resource = resource_of(version)
        self._scope = InstrumentationScope("sidecar", version)
        self._log = log
        self._interval = _interval(environment, log)
        self._why = _Kept()
        logging.getLogger(metric_exporter.__name__).addFilter(self._why)
        self._exporter = exporter or metric_exporter.OTLPMetricExporter()
        self._started_at = time.time_ns()
        self._stopping = asyncio.Event()
        self._fails = False
        self._exporting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._exporting = asyncio.create_task(self._export_until_stopped(), name="metrics export")

    async def stop(self) -> None:
        """Export the last figures, in `LAST_EXPORT` seconds at most, and stop; at once where exporting fails anyhow."""
        self._stopping.set()
        if self._exporting is not None:
            _, late = await asyncio.wait([self._exporting], timeout=0 if self._fails else LAST_EXPORT)
            if late and not self._fails:
                self._log.warning("the last metrics are not exported: the collector does not answer in time")
            self._exporting.cancel()
        self._exporter.shutdown()
        logging.getLogger(metric_exporter.__name__).removeFilter(self._why)

    async def _export_until_stopped(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._interval)
            if not (self._fails and self._stopping.is_set()):
                await self._export()

    async def _export(self) -> None:
        # The figures are read on the event loop, where they are counted.
        metrics = converted(self._registry.collect(), since=self._started_at, now=time.time_ns())
        scope = ScopeMetrics(self._scope, metrics, schema_url="")
        data = MetricsData([ResourceMetrics(self._resource, [scope], schema_url="")])
        self._why.first = None
        failed = await in_daemon_thread(lambda: self._exporter.export(data)) is not MetricExportResult.SUCCESS
        if failed and not self._fails:
            self._log.error("metrics are not exported", why=self._why.first)
        elif self._fails and not failed:
            self._log.info("metrics are exported again")
        self._fails = failed


class _Kept(logging.Filter):
    """Keeps what the exporter logs, for one line of our own instead of several at each interval."""

    def __init__(self) -> None:
        super().__init__()
        self.first: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        # The first line of an export has the cause; those that follow say how often it was met with.
        self.first = self.first or record.getMessage()
        return False


def converted(families: Iterable[Family], *, since: int, now: int) -> list[Metric]:
    """Turn Prometheus' families into OpenTelemetry's metrics. `since` and `now` are nanoseconds of the Unix epoch."""
    return [metric for family in families for metric in _converted(family, since, now)]


def _converted(family: Family, since: int, now: int) -> Iterable[Metric]:
    if family.type == "histogram":
        points = [_histogram_point(family.name, series, since, now) for series in _series(family.samples)]
        yield _metric(family.name, family, Histogram(points, AggregationTemporality.CUMULATIVE))
        return
    names = dict.fromkeys(sample.name for sample in family.samples if not sample.name.endswith("_created"))
    for name in names:
        points_of_name = [
            NumberDataPoint(dict(sample.labels), since, now, float(sample.value))
            for sample in family.samples
            if sample.name == name
        ]
        if family.type in ("counter", "info"):
            is_monotonic = family.type == "counter"
            yield _metric(name, family, Sum(points_of_name, AggregationTemporality.CUMULATIVE, is_monotonic))
        else:
            yield _metric(name, family, Gauge(points_of_name))


def _metric(name: str, family: Family, data: Sum | Gauge | Histogram) -> Metric:
    unit = _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")
    return Metric(name, family.documentation, unit, data)


def _series(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Group the samples of a histogram by their labels, the bound of the bucket aside."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        found.setdefault(labels, []).append(sample)
    return list(found.values())


def _histogram_point(name: str, series: list[Sample], since: int, now: int) -> HistogramDataPoint:
    """One point. Prometheus' buckets contain those below them, OpenTelemetry's do not."""
    buckets = [(float(sample.labels["le"]), int(sample.value)) for sample in series if sample.name == f"{name}_bucket"]
    totals = {sample.name.removeprefix(f"{name}_"): sample.value for sample in series}
    counts = [0, *(count for _, count in buckets)]
    return HistogramDataPoint(
        attributes={label: value for label, value in series[0].labels.items() if label != "le"},
        start_time_unix_nano=since,
        time_unix_nano=now,
        count=counts[-1],
        sum=totals.get("sum", 0.0),
        bucket_counts=[upper - lower for lower, upper in pairwise(counts)],
        explicit_bounds=[bound for bound, _ in buckets[:-1]],
        # Neither is known; the encoder leaves out what is None.
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
    )


def _interval(environment: Mapping[str, str], log: FilteringBoundLogger) -> float:
    """Read `OTEL_METRIC_EXPORT_INTERVAL`, in milliseconds. Gives seconds: the default for a value that is no such."""
    text = environment.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    if not text.strip():
        return _INTERVAL
    try:
        seconds = float(text) / 1000
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        problem = f"OTEL_METRIC_EXPORT_INTERVAL: {text!r}: milliseconds above 0 are allowed; {_INTERVAL:g} s are used"
        log.warning(problem)
        return _INTERVAL
    return seconds
