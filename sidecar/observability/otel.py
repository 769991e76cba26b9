"""Spans and metrics for an OpenTelemetry collector, where its own variables want them.

The libraries, the extra `otel`, are imported only then: off, they cost nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from service_kit.process.extras import installed_version, missing

if TYPE_CHECKING:
    from sidecar.observability.otlp_metrics import MetricsExport
    from sidecar.observability.tracing import Tracing


def wants_tracing(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the variables configure an exporter of spans: a destination, or `OTEL_TRACES_EXPORTER=otlp`.

    `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none` switch spans off in any case.
    """
    return _wants("TRACES", environment, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wants_metrics(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the variables ask for metrics: `OTEL_METRICS_EXPORTER=otlp`, or a destination of metrics alone.

    A destination of all signals is not enough, since `/metrics` has the figures already. `OTEL_SDK_DISABLED=true` and
    `OTEL_METRICS_EXPORTER=none` switch the export off in any case.
    """
    return _wants("METRICS", environment, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")


def open_tracing(log: FilteringBoundLogger) -> Tracing | None:
    """Begin to make spans, if they are wanted and can be made."""
    if not wants_tracing() or not _is_installed("spans", log):
        return None
    from sidecar.observability.tracing import Tracing  # noqa: PLC0415 # brings the extra

    return Tracing(installed_version())


def metrics_export(registry: CollectorRegistry, log: FilteringBoundLogger) -> MetricsExport | None:
    """Make what exports the figures of a registry, if that is wanted and possible."""
    if not wants_metrics() or not _is_installed("metrics", log):
        return None
    from sidecar.observability.otlp_metrics import MetricsExport  # noqa: PLC0415 # brings the extra

    return MetricsExport(registry, installed_version(), log)


def _wants(signal: str, environment: Mapping[str, str], *destinations: str) -> bool:
    exporter = environment.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(environment.get(name) for name in destinations)


def _is_installed(signal: str, log: FilteringBoundLogger) -> bool:
    absent = missing("otel")
    if absent:
        problem = f"{signal} are wanted and cannot be made: the extra otel is not installed"
        log.warning(problem, missing=absent)
    return not absent
