"""Whether the environment asks for spans, by the standard variables, found out without importing OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_DESTINATIONS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wants_tracing(environment: Mapping[str, str]) -> bool:
    """Whether an exporter is configured: a destination, or `OTEL_TRACES_EXPORTER=otlp`.

    `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none` switch spans off whatever else is set.
    """
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporters == "none":
        return False
    return exporters == "otlp" or any(environment.get(name) for name in _DESTINATIONS)
