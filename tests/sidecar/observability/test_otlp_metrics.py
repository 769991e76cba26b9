"""Figures of a Prometheus registry as OpenTelemetry's metrics, and when they are exported."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.metrics.export import Gauge, Histogram, MetricExporter, MetricExportResult, MetricsData, Sum
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client import Info as PrometheusInfo
from structlog.testing import capture_logs

from sidecar.observability.otlp_metrics import MetricsExport, converted
from tests.support.eventually import eventually


def metrics_of(registry: CollectorRegistry) -> dict[str, Any]:
    return {metric.name: metric for metric in converted(registry.collect(), since=1, now=2)}


def test_a_counter_is_a_monotonic_sum_under_the_name_that_its_sample_has() -> None:
    registry = CollectorRegistry()
    PrometheusCounter("read_bytes", "Bytes read.", ["from"], registry=registry).labels("ada").inc(3)
    (metric,) = metrics_of(registry).values()
    assert (metric.name, metric.description, metric.unit) == ("read_bytes_total", "Bytes read.", "By")
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    (point,) = metric.data.data_points
    assert (point.attributes, point.value, point.start_time_unix_nano, point.time_unix_nano) == (
        {"from": "ada"},
        3,
        1,
        2,
    )


def test_a_gauge_stays_a_gauge() -> None:
    registry = CollectorRegistry()
    PrometheusGauge("known", "Sessions.", registry=registry).set(7)
    metric = metrics_of(registry)["known"]
    assert isinstance(metric.data, Gauge)
    assert [point.value for point in metric.data.data_points] == [7]


def test_an_info_is_a_sum_that_is_not_monotonic() -> None:
    registry = CollectorRegistry()
    PrometheusInfo("build", "What runs.", registry=registry).info({"version": "1"})
    metric = metrics_of(registry)["build_info"]
    assert isinstance(metric.data, Sum)
    assert not metric.data.is_monotonic
    assert [(point.attributes, point.value) for point in metric.data.data_points] == [({"version": "1"}, 1)]


def test_a_histograms_buckets_no_longer_contain_those_below() -> None:
    registry = CollectorRegistry()
    histogram = PrometheusHistogram("took_seconds", "Time.", ["of"], buckets=(1, 2), registry=registry)
    for seconds in (0.5, 0.6, 1.5, 9):
        histogram.labels("a").observe(seconds)
    histogram.labels("b").observe(2)
    metric = metrics_of(registry)["took_seconds"]
    assert metric.unit == "s"
    assert isinstance(metric.data, Histogram)
    first, second = metric.data.data_points
    assert (first.attributes, first.count, first.sum) == ({"of": "a"}, 4, pytest.approx(11.6))
    assert (first.explicit_bounds, first.bucket_counts) == ([1.0, 2.0], [2, 1, 1])
    assert (second.attributes, second.bucket_counts) == ({"of": "b"}, [0, 1, 0])


class Collector(MetricExporter):
    """Answers exports in turn as told, and success from then on."""

    def __init__(self, *results: MetricExportResult) -> None:
        super().__init__()
        self.results = list(results)
        self.exports = 0
        self.stopped = 0

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any) -> MetricExportResult:
        self.exports += 1
        return self.results.pop(0) if self.results else MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
        self.stopped += 1


async def export_times(collector: Collector, times: int) -> list[str]:
    """Export so often; gives what was logged."""
    environment = {"OTEL_METRIC_EXPORT_INTERVAL": "1"}
    with capture_logs() as logs:
        log = structlog.get_logger()
        export = MetricsExport(CollectorRegistry(), "1", log, exporter=collector, environment=environment)
        await export.start()
        await eventually(lambda: collector.exports >= times)
        await export.stop()
    return [line["event"] for line in logs]


async def test_a_failure_is_logged_once_and_so_is_its_end() -> None:
    failure = MetricExportResult.FAILURE
    logged = await export_times(Collector(failure, failure, failure), 5)
    assert logged == ["metrics are not exported", "metrics are exported again"]


async def test_the_exporter_is_shut_down_once() -> None:
    for collector in (Collector(), Collector(*[MetricExportResult.FAILURE] * 1000)):
        await export_times(collector, 2)
        assert collector.stopped == 1


async def test_a_collector_that_hangs_does_not_hold_up_a_stop() -> None:
    """The collector answers only after the stop is over."""
    answered = threading.Event()

    class Hanging(Collector):
        def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any) -> MetricExportResult:
            self.exports += 1
            answered.wait()
            return MetricExportResult.SUCCESS

    collector = Hanging()
    environment = {"OTEL_METRIC_EXPORT_INTERVAL": "1"}
    with capture_logs() as logs:
        log = structlog.get_logger()
        export = MetricsExport(CollectorRegistry(), "1", log, exporter=collector, environment=environment)
        await export.start()
        try:
            await eventually(lambda: collector.exports)
            async with asyncio.timeout(60):
                await export.stop()
        finally:
            answered.set()
    assert [line["event"] for line in logs] == [
        "the last metrics are not exported: the collector does not answer in time"
    ]


@pytest.mark.parametrize("value", ["soon", "0", "-5", "nan", "inf"])
async def test_an_interval_that_is_none_is_reported_and_the_default_holds(value: str) -> None:
    with capture_logs() as logs:
        environment = {"OTEL_METRIC_EXPORT_INTERVAL": value}
        log = structlog.get_logger()
        export = MetricsExport(CollectorRegistry(), "1", log, exporter=Collector(), environment=environment)
        await export.start()
        await export.stop()
    (line,) = logs
    assert line["event"].startswith(f"OTEL_METRIC_EXPORT_INTERVAL: {value!r}")
