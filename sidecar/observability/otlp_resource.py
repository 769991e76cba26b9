"""What an OpenTelemetry collector is told of this process beside spans and metrics."""

from __future__ import annotations

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource


def resource_of(version: str) -> Resource:
    """Name the service and its version; what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say wins."""
    own = Resource({SERVICE_NAME: "session-sidecar", SERVICE_VERSION: version})
    return own.merge(_environments_resource())


def _environments_resource() -> Resource:
    found = Resource.create().attributes
    return Resource({name: value for name, value in found.items() if not str(value).startswith("unknown_service")})
