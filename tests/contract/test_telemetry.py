"""The `Telemetry` port: the fake, and what counts and logs for real, take note of the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import structlog

from sidecar.guard.ports import Telemetry
from sidecar.model import Grounds, Reason, Reference
from sidecar.observability.metrics import Metrics
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.testing import FakeTelemetry

ANN = Reference("s-1", "ann", scope=("app",))
OWNERLESS = Reference("s-1", None)


@dataclass
class Noted:
    """A telemetry, and what a reader sees in it: decisions by (decision, reason), all else by name."""

    telemetry: Telemetry
    decisions: Callable[[], Counter[tuple[str, Reason | None]]]
    others: Callable[[], dict[str, object]]


def fake() -> Noted:
    telemetry = FakeTelemetry()

    def others() -> dict[str, object]:
        return {
            "breaker": [note[1] for note in telemetry.notes if note[0] == "breaker"][-1],
            "events_connected": [note[1] for note in telemetry.notes if note[0] == "events_connected"][-1],
            "session_calls": Counter(note[1:] for note in telemetry.notes if note[0] == "session_call"),
            "debt_conflicts": sum(note[0] == "debt_conflict" for note in telemetry.notes),
            "shadow_dropped": sum(note[0] == "shadow_dropped" for note in telemetry.notes),
            "upstream_errors": Counter(note[1] for note in telemetry.notes if note[0] == "upstream_failed"),
        }

    return Noted(telemetry, lambda: Counter(telemetry.decisions), others)


def logged_metrics() -> Noted:
    metrics = Metrics()
    telemetry = LoggedMetrics(metrics, structlog.get_logger())

    def others() -> dict[str, object]:
        return {
            "breaker": metrics.breaker_open,
            "events_connected": metrics.events_connected,
            "session_calls": metrics.session_calls,
            "debt_conflicts": metrics.debt_conflicts,
            "shadow_dropped": metrics.shadow_dropped,
            "upstream_errors": metrics.upstream_errors,
        }

    def decisions() -> Counter[tuple[str, Reason | None]]:
        counted = metrics.requests.items()
        return Counter({(decision, Reason(reason) if reason else None): n for (decision, reason), n in counted})

    return Noted(telemetry, decisions, others)


@pytest.fixture(params=[fake, logged_metrics])
def noted(request: pytest.FixtureRequest) -> Noted:
    return request.param()


@pytest.mark.parametrize("reference", [None, ANN, OWNERLESS])
@pytest.mark.parametrize("prefix", ["", "shadow_"])
def test_every_decision_is_noted_once(noted: Noted, prefix: str, reference: Reference | None) -> None:
    """Each decision and reason is counted, with and without a reference."""
    expected: Counter[tuple[str, Reason | None]] = Counter()
    for grounds in Grounds:
        noted.telemetry.decided(f"{prefix}{grounds.value}", None, reference)
        expected[f"{prefix}{grounds.value}", None] += 1
    for reason in Reason:
        noted.telemetry.decided(f"{prefix}refused", reason, reference)
        expected[f"{prefix}refused", reason] += 1
    assert noted.decisions() == expected


@pytest.mark.parametrize("last", [True, False])
def test_switches_say_what_they_were_told_last(noted: Noted, last: bool) -> None:
    """A switch shows the last value that it was given."""
    for switch in (True, True, False, False, not last, last, last):
        noted.telemetry.breaker(is_open=switch)
        noted.telemetry.events_connected(connected=switch)
    assert (noted.others()["breaker"], noted.others()["events_connected"]) == (last, last)


def test_everything_else_is_counted(noted: Noted) -> None:
    """Each other event is counted as often as it happened."""
    telemetry = noted.telemetry
    telemetry.breaker(is_open=False)
    telemetry.events_connected(connected=False)
    for outcome in ("absent", "absent", "created"):
        telemetry.session_call("look", outcome, 0.0)
    telemetry.debt_conflict(OWNERLESS, "gone")
    telemetry.shadow_dropped()
    telemetry.shadow_dropped()
    telemetry.upstream_failed(Reason.UPSTREAM_TIMEOUT, "it took too long")
    assert noted.others() == {
        "breaker": False,
        "events_connected": False,
        "session_calls": {("look", "absent"): 2, ("look", "created"): 1},
        "debt_conflicts": 1,
        "shadow_dropped": 2,
        "upstream_errors": {Reason.UPSTREAM_TIMEOUT: 1},
    }
