"""The `Telemetry` port: the fake, and what counts and logs for real, take everything and never fail."""

from __future__ import annotations

import pytest
import structlog

from sidecar.guard.ports import Telemetry
from sidecar.model import Grounds, Reason, Reference
from sidecar.observability.metrics import Metrics
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.testing import FakeTelemetry

ANN = Reference("s-1", "ann", scope=("app",))
OWNERLESS = Reference("s-1", None)


@pytest.fixture(params=[FakeTelemetry, lambda: LoggedMetrics(Metrics(), structlog.get_logger())])
def telemetry(request: pytest.FixtureRequest) -> Telemetry:
    return request.param()


@pytest.mark.parametrize("reference", [None, ANN, OWNERLESS])
@pytest.mark.parametrize("prefix", ["", "shadow_"])
def test_every_decision_is_taken(telemetry, prefix, reference):
    """Every ground and every reason, with and without a reference."""
    for how in Grounds:
        telemetry.decided(f"{prefix}{how.value}", None, reference)
    for reason in Reason:
        telemetry.decided(f"{prefix}refused", reason, reference)


def test_everything_else_is_taken(telemetry):
    """In any order, and more than once."""
    for switch in (True, True, False, False, True):
        telemetry.breaker(is_open=switch)
        telemetry.events_connected(connected=switch)
    telemetry.session_call("look", "absent", 0.0)
    telemetry.debt_conflict(OWNERLESS, "gone")
    telemetry.shadow_dropped()
    telemetry.upstream(1e9)
    telemetry.overhead(0.0)
