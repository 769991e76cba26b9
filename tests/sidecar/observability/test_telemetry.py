"""What happened, as figures and as log lines."""

from __future__ import annotations

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import CapturingLogger, LogCapture

from sidecar.model import Head, Reason, Reference
from sidecar.observability.metrics import Metrics
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.request_context import on_behalf_of
from sidecar.testing import FakeClock
from tests.support.eventually import eventually


@pytest.fixture
def captured() -> LogCapture:
    return LogCapture()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def telemetry(metrics: Metrics, captured: LogCapture) -> LoggedMetrics:
    log = structlog.wrap_logger(CapturingLogger(), processors=[captured], wrapper_class=structlog.BoundLogger)
    return LoggedMetrics(metrics, log)


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    """The sample as a scraper would read it."""
    registry = CollectorRegistry()
    registry.register(metrics)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for found in family.samples:
            if found.name == sample and found.labels == labels:
                return found.value
    return None


def test_every_decision_is_counted_by_kind_and_reason(telemetry: LoggedMetrics, metrics: Metrics) -> None:
    telemetry.decided("known")
    telemetry.decided("known")
    telemetry.decided("refused", Reason.SESSION_GONE)
    assert value(metrics, "sidecar_requests_total", decision="known", reason="") == 2
    assert value(metrics, "sidecar_requests_total", decision="refused", reason="session_gone") == 1


@pytest.mark.parametrize("decision", ["known", "passed", "shadow_known", "shadow_passed"])
def test_plain_known_and_passed_leave_no_log_line(
    telemetry: LoggedMetrics, captured: LogCapture, decision: str
) -> None:
    telemetry.decided(decision, None, Reference("s1", "u1"))
    assert captured.entries == []


@pytest.mark.parametrize("decision", ["found", "created", "owed", "shadow_found", "shadow_refused"])
def test_every_other_decision_leaves_one_line_that_names_session_and_user(
    telemetry: LoggedMetrics, captured: LogCapture, decision: str
) -> None:
    telemetry.decided(decision, None, Reference("s1", "u1"))
    assert captured.entries == [
        {"event": "write decided", "log_level": "info", "decision": decision, "session_id": "s1", "user_id": "u1"}
    ]


def test_a_refusal_is_a_warning_with_its_reason(telemetry: LoggedMetrics, captured: LogCapture) -> None:
    telemetry.decided("refused", Reason.USER_ID_REQUIRED, Reference("s1", None))
    assert captured.entries == [
        {
            "event": "write refused",
            "log_level": "warning",
            "decision": "refused",
            "reason": "user_id_required",
            "session_id": "s1",
        }
    ]


@pytest.mark.parametrize(("outcome", "prevented"), [("created", 1), ("found", 0), ("conflict", 0), ("unknown", 0)])
def test_an_orphan_is_prevented_where_a_session_was_made(
    telemetry: LoggedMetrics, metrics: Metrics, outcome: str, prevented: int
) -> None:
    """An orphan is counted once for each session made, and never for a refusal."""
    telemetry.session_call("ensure", outcome, 0.001)
    for decision, reason in (("created", None), ("created", None), ("refused", Reason.SESSION_GONE)):
        telemetry.decided(decision, reason, Reference("s1", "u1"))
    assert value(metrics, "sidecar_orphan_writes_prevented_total") == prevented


def test_a_flood_of_one_reason_leaves_ten_lines_a_second_and_a_count(metrics: Metrics, captured: LogCapture) -> None:
    """Of one reason ten lines a second and a count are written, and other reasons are heard meanwhile."""
    clock = FakeClock()
    log = structlog.wrap_logger(CapturingLogger(), processors=[captured], wrapper_class=structlog.BoundLogger)
    telemetry = LoggedMetrics(metrics, log, clock=clock)
    for _ in range(10_000):
        telemetry.decided("refused", Reason.SESSION_GONE)
    telemetry.decided("refused", Reason.SESSION_NOT_FOUND)
    assert [entry["reason"] for entry in captured.entries] == ["session_gone"] * 10 + ["session_not_found"]
    clock.advance(1.0)
    telemetry.decided("refused", Reason.SESSION_GONE)
    withheld, last = captured.entries[11:]
    assert (withheld["event"], withheld["count"]) == ("lines were withheld", 9_990)
    assert last["reason"] == "session_gone"
    assert value(metrics, "sidecar_requests_total", decision="refused", reason="session_gone") == 10_001


async def test_withheld_lines_are_told_although_no_other_comes(metrics: Metrics, captured: LogCapture) -> None:
    """The count of withheld lines is written also where no further line comes."""
    log = structlog.wrap_logger(CapturingLogger(), processors=[captured], wrapper_class=structlog.BoundLogger)
    telemetry = LoggedMetrics(metrics, log)
    for _ in range(11):
        telemetry.decided("created", None, Reference("s1", "u1"))
    await eventually(lambda: captured.entries[-1]["event"] == "lines were withheld")
    assert captured.entries[-1]["count"] == 1


def test_a_line_names_the_request_that_it_is_about(telemetry: LoggedMetrics, captured: LogCapture) -> None:
    """A line has the id, the method and the path of its request, without the query."""
    headers = [(b"x-request-id", b"r-1")]
    with on_behalf_of(Head("POST", b"/a?secret=1", headers)):
        telemetry.upstream_failed(Reason.UPSTREAM_TIMEOUT, "late")
    (entry,) = captured.entries
    assert (entry["request_id"], entry["method"], entry["path"]) == ("r-1", "POST", "/a")


def test_failures_of_the_memory_service_are_counted_by_reason(telemetry: LoggedMetrics, metrics: Metrics) -> None:
    """Each failure of the memory service is counted under its reason."""
    telemetry.upstream_failed(Reason.UPSTREAM_TIMEOUT, "late")
    telemetry.upstream_failed(Reason.UPSTREAM_UNAVAILABLE, "refused")
    telemetry.upstream_failed(Reason.UPSTREAM_UNAVAILABLE, "refused")
    assert value(metrics, "sidecar_upstream_errors_total", reason="upstream_timeout") == 1
    assert value(metrics, "sidecar_upstream_errors_total", reason="upstream_unavailable") == 2


def test_session_calls_are_counted_by_outcome_and_timed(telemetry: LoggedMetrics, metrics: Metrics) -> None:
    telemetry.session_call("ensure", "created", 0.003)
    assert value(metrics, "sidecar_session_calls_total", operation="ensure", outcome="created") == 1
    assert value(metrics, "sidecar_session_call_seconds_count") == 1
    assert value(metrics, "sidecar_session_call_seconds_sum") == 0.003
    assert value(metrics, "sidecar_session_call_seconds_bucket", le="0.0025") == 0
    assert value(metrics, "sidecar_session_call_seconds_bucket", le="0.005") == 1
    assert value(metrics, "sidecar_session_call_seconds_bucket", le="+Inf") == 1


def test_a_duration_on_a_bound_belongs_to_its_bucket(telemetry: LoggedMetrics, metrics: Metrics) -> None:
    telemetry.upstream(0.005)
    assert value(metrics, "sidecar_upstream_seconds_bucket", le="0.0025") == 0
    assert value(metrics, "sidecar_upstream_seconds_bucket", le="0.005") == 1


def test_a_duration_over_every_bound_is_counted_too(telemetry: LoggedMetrics, metrics: Metrics) -> None:
    telemetry.overhead(3600)
    assert value(metrics, "sidecar_overhead_seconds_bucket", le="60.0") == 0
    assert value(metrics, "sidecar_overhead_seconds_count") == 1


def test_the_breaker_is_logged_when_it_changes_only(
    telemetry: LoggedMetrics, metrics: Metrics, captured: LogCapture
) -> None:
    telemetry.breaker(is_open=True)
    telemetry.breaker(is_open=True)
    assert value(metrics, "sidecar_breaker_open") == 1
    telemetry.breaker(is_open=False)
    assert value(metrics, "sidecar_breaker_open") == 0
    assert [entry["log_level"] for entry in captured.entries] == ["warning", "info"]


def test_a_debt_that_cannot_be_paid_is_counted_and_logged_as_an_error(
    telemetry: LoggedMetrics, metrics: Metrics, captured: LogCapture
) -> None:
    telemetry.debt_conflict(Reference("s1", "u1"), "conflict")
    assert value(metrics, "sidecar_debt_conflicts_total") == 1
    assert [(entry["log_level"], entry["session_id"]) for entry in captured.entries] == [("error", "s1")]


def test_gauges_are_read_at_each_scrape(metrics: Metrics) -> None:
    sizes = iter([1.0, 5.0])
    metrics.publish("sidecar_known_sessions", lambda: next(sizes))
    assert value(metrics, "sidecar_known_sessions") == 1
    assert value(metrics, "sidecar_known_sessions") == 5


def test_what_the_catalog_does_not_describe_is_not_published(metrics: Metrics) -> None:
    with pytest.raises(KeyError):
        metrics.publish("sidecar_something_new", lambda: 1.0)


def test_a_gauge_may_have_one_label(metrics: Metrics) -> None:
    metrics.publish("sidecar_upstream_connections", lambda: {"idle": 2.0, "active": 3.0})
    assert value(metrics, "sidecar_upstream_connections", state="idle") == 2
    assert value(metrics, "sidecar_upstream_connections", state="active") == 3


def test_the_stream_of_events_and_dropped_shadow_work_are_published(telemetry: LoggedMetrics, metrics: Metrics) -> None:
    metrics.publish("sidecar_events_connected", lambda: metrics.events_connected)
    telemetry.events_connected(connected=True)
    telemetry.shadow_dropped()
    assert value(metrics, "sidecar_events_connected") == 1
    assert value(metrics, "sidecar_shadow_dropped_total") == 1


def test_unguarded_writes_are_counted_and_logged_once_an_hour_for_each_route(
    metrics: Metrics, captured: LogCapture
) -> None:
    clock = FakeClock()
    log = structlog.wrap_logger(CapturingLogger(), processors=[captured], wrapper_class=structlog.BoundLogger)
    telemetry = LoggedMetrics(metrics, log, clock=clock)
    for _ in range(2):
        for target in (b"/things/1", b"/things/2", b"/other"):
            with on_behalf_of(Head("POST", target, [])):
                telemetry.unguarded_write()
        clock.advance(10)
    assert [entry["route"] for entry in captured.entries] == ["/things/*", "/other"]
    clock.advance(3600)
    with on_behalf_of(Head("POST", b"/things/3", [])):
        telemetry.unguarded_write()
    assert [entry["route"] for entry in captured.entries] == ["/things/*", "/other", "/things/*"]
    assert value(metrics, "sidecar_unguarded_session_writes_total") == 7
