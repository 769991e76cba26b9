"""Spans and metrics in a collector in this process; one write followed by its request id and as one trace."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from websockets.sync.client import connect

from sidecar.observability.otel import wants_metrics, wants_tracing
from tests.e2e.test_wrap import wrapped
from tests.support.built import ROOT
from tests.support.platform import STORE
from tests.support.processes import running, wait_until
from tests.support.servers import served
from tests.support.ways import Way, sidecar_before

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{CLIENT_SPAN}-01", "tracestate": "vendor=1", "x-request-id": "req-1"}
WRITE = {"user_id": "ada", "session_id": "s-1", "message_content": "Hello"}


class Neighbours:
    """Session service, memory service and collector in one application, which remember what came."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.stored: list[Mapping[str, str]] = []
        self.spans: list[Any] = []
        self.metrics: list[dict[str, Any]] = []
        self.app = Starlette(
            routes=[
                Route("/api/v1/sessions/{id}", self._session, methods=["PUT"]),
                Route(STORE, self._store, methods=["POST"]),
                Route("/v1/traces", self._collect, methods=["POST"]),
                Route("/v1/metrics", self._collect_metrics, methods=["POST"]),
            ]
        )

    async def _session(self, request: Request) -> Response:
        self.asked.append(dict(request.headers))
        body = await request.json()
        return JSONResponse({"session_id": request.path_params["id"], "status": "active", **body}, 201)

    async def _store(self, request: Request) -> Response:
        self.stored.append(dict(request.headers))
        return JSONResponse({"success": True})

    async def _collect(self, request: Request) -> Response:
        exported = ExportTraceServiceRequest.FromString(await request.body())
        for resource in exported.resource_spans:
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return Response()

    async def _collect_metrics(self, request: Request) -> Response:
        exported = ExportMetricsServiceRequest.FromString(await request.body())
        scopes = [scope for resource in exported.resource_metrics for scope in resource.scope_metrics]
        self.metrics.append({metric.name: metric for scope in scopes for metric in scope.metrics})
        return Response()

    def span(self, name: str) -> Any:
        """The one span of this name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


def settings(url: str, **more: str) -> dict[str, str]:
    free = {"SIDECAR_LISTEN": "127.0.0.1:0", "SIDECAR_ADMIN": "127.0.0.1:0", "SIDECAR_LOG": "json"}
    return {**free, "SIDECAR_UPSTREAM": url, "SIDECAR_SESSION_SERVICE": url, **more}


def test_one_write_is_one_trace_and_keeps_its_request_id(tmp_path: Path, way: Way) -> None:
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        env = settings(url, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="100")
        with sidecar_before(way, url, env=env, cwd=tmp_path) as sidecar:
            answer = httpx.post(sidecar.url() + STORE, json=WRITE, headers=SENT, trust_env=False)
            assert answer.status_code == 200
            wait_until(lambda: len(neighbours.spans) >= 4, "the spans")
            logged = [line for line in sidecar.stderr if '"created"' in line]
    whole, decision = neighbours.span("POST"), neighbours.span("decision")
    asked, forwarded = neighbours.span("session ensure"), neighbours.span("upstream")
    assert {span.trace_id.hex() for span in (whole, decision, asked, forwarded)} == {TRACE}
    assert whole.parent_span_id.hex() == CLIENT_SPAN
    assert decision.parent_span_id == forwarded.parent_span_id == whole.span_id
    assert asked.parent_span_id == decision.span_id
    found = {attribute.key: attribute.value.string_value for attribute in whole.attributes}
    assert (found["session_guard.decision"], found["session_guard.request_id"]) == ("created", "req-1")
    (session,) = neighbours.asked
    assert session["x-request-id"] == "req-1"
    assert session["traceparent"] == f"00-{TRACE}-{decision.span_id.hex()}-01"
    assert session["tracestate"] == "vendor=1"
    (memory,) = neighbours.stored
    assert {name: memory[name] for name in SENT} == SENT
    assert '"request_id":"req-1"' in logged[0]


def test_a_refusal_is_a_span_with_its_reason_and_nothing_is_forwarded(tmp_path: Path, way: Way) -> None:
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        env = settings(url, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="100")
        with sidecar_before(way, url, env=env, cwd=tmp_path) as sidecar:
            answer = httpx.post(sidecar.url() + STORE, json={"session_id": "s"}, headers=SENT, trust_env=False)
            assert answer.headers["x-request-id"] == "req-1"
            wait_until(lambda: len(neighbours.spans) >= 2, "the spans")
    found = {attribute.key: attribute.value.string_value for attribute in neighbours.span("POST").attributes}
    assert found["session_guard.reason"] == "user_id_required"
    assert {span.name for span in neighbours.spans} == {"POST", "decision"}


@pytest.mark.parametrize(
    ("body", "answered", "reason"), [(WRITE, 200, None), ({"session_id": "s"}, 422, "user_id_required")]
)
def test_a_question_to_the_authoriser_is_a_trace_of_the_request_it_is_about(
    tmp_path: Path, body: dict[str, str], answered: int, reason: str | None
) -> None:
    """The span has the path of the original request, its decision, and goes on from the client's trace."""
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        env = settings(url, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="100", SIDECAR_AUTHZ="127.0.0.1:0")
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            question = f"{sidecar.url('authz')}/envoy{STORE}"
            assert httpx.post(question, json=body, headers=SENT, trust_env=False).status_code == answered
            wait_until(lambda: len(neighbours.spans) >= 2 + (reason is None), "the spans")
    whole = neighbours.span("POST")
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, CLIENT_SPAN)
    assert neighbours.span("decision").parent_span_id == whole.span_id
    found = {attribute.key: attribute.value.string_value for attribute in whole.attributes}
    assert found["url.path"] == STORE
    assert found.get("session_guard.reason") == reason


def test_a_collector_that_is_away_harms_no_request(tmp_path: Path, way: Way) -> None:
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        env = settings(url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1")
        with sidecar_before(way, url, env=env, cwd=tmp_path) as sidecar:
            assert httpx.post(sidecar.url() + STORE, json=WRITE, trust_env=False).status_code == 200


def test_a_collector_that_hangs_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """Neither its spans nor its metrics; the exporters themselves would wait for ten minutes."""
    neighbours = Neighbours()
    with served(neighbours.app) as url, socket.create_server(("127.0.0.1", 0)) as hanging:
        collector = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        wanted = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_METRICS_EXPORTER": "otlp"}
        env = settings(url, OTEL_EXPORTER_OTLP_TIMEOUT="600", **wanted)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            assert httpx.post(sidecar.url() + STORE, json=WRITE, trust_env=False).status_code == 200
            assert sidecar.stop() == 0


def test_a_hosted_application_keeps_its_lifespan_and_its_websockets(tmp_path: Path) -> None:
    """Spans are for requests; what else a server tells an application passes."""
    with wrapped(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as hosted:
        assert httpx.get(f"{hosted.url}/state", trust_env=False).json() == "hello"
        with connect(f"ws://127.0.0.1:{hosted.port}/socket", proxy=None) as websocket:
            websocket.send("world")
            assert websocket.recv() == "hello world"
        assert hosted.process.stop() == 0
        assert hosted.journal[-1] == "stopped"


def test_spans_add_no_line_to_the_log(tmp_path: Path) -> None:
    """The span of a decision, which forwarding ends, is not ended again."""
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        env = settings(url, OTEL_EXPORTER_OTLP_ENDPOINT=url)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            assert httpx.get(f"{sidecar.url()}/nothing", trust_env=False).status_code == 404
            assert sidecar.stop() == 0
    assert not [line for line in sidecar.stderr if "span" in json.loads(line)["event"]]


def test_without_spans_the_trace_goes_on_to_both_services_unchanged(tmp_path: Path, way: Way) -> None:
    neighbours = Neighbours()
    with (
        served(neighbours.app) as url,
        sidecar_before(way, url, env=settings(url), cwd=tmp_path) as sidecar,
    ):
        httpx.post(sidecar.url() + STORE, json=WRITE, headers=SENT, trust_env=False)
    for (headers,) in (neighbours.asked, neighbours.stored):
        assert {name: headers[name] for name in SENT} == SENT
    assert neighbours.spans == []


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector"}, False),
    ],
)
def test_opentelemetrys_own_variables_switch_spans_on(environment: dict[str, str], wanted: bool) -> None:
    assert wants_tracing(environment) is wanted


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector"}, False),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector/v1/metrics"}, True),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector"}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_opentelemetrys_own_variables_switch_the_export_of_metrics_on(
    environment: dict[str, str], wanted: bool
) -> None:
    assert wants_metrics(environment) is wanted


def test_the_last_figures_are_exported_when_the_sidecar_stops(tmp_path: Path) -> None:
    """The interval is an hour, so that the only export is the last; metrics alone are wanted, and no span is made."""
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_METRICS_EXPORTER": "otlp", "OTEL_TRACES_EXPORTER": "none"}
        env = settings(url, OTEL_METRIC_EXPORT_INTERVAL="3600000", **otel)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            assert httpx.post(sidecar.url() + STORE, json=WRITE, trust_env=False).status_code == 200
            shown = httpx.get(sidecar.url("admin") + "/metrics", trust_env=False).text
    (exported,) = neighbours.metrics
    names = {sample.name for family in text_string_to_metric_families(shown) for sample in family.samples}
    histograms = {name.removesuffix("_bucket") for name in names if name.endswith("_bucket")}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    assert set(exported) == (names - parts) | histograms
    (created,) = [point for point in exported["sidecar_requests_total"].sum.data_points if point.as_double]
    labels = {attribute.key: attribute.value.string_value for attribute in created.attributes}
    assert (labels, created.as_double) == ({"decision": "created", "reason": ""}, 1.0)
    assert exported["sidecar_requests_total"].sum.is_monotonic
    (overhead,) = exported["sidecar_overhead_seconds"].histogram.data_points
    assert (overhead.count, sum(overhead.bucket_counts)) == (1, 1)
    assert neighbours.spans == []


def test_metrics_are_exported_at_the_interval(tmp_path: Path) -> None:
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        otel = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/v1/metrics", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
        with running("sidecar", "serve", role="sidecar", env=settings(url, **otel), cwd=tmp_path):
            wait_until(lambda: len(neighbours.metrics) >= 2, "two exports")


def test_a_collector_of_metrics_that_is_away_is_one_line_and_delays_no_stop(tmp_path: Path) -> None:
    neighbours = Neighbours()
    with served(neighbours.app) as url:
        otel = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRIC_EXPORT_INTERVAL": "20"}
        env = settings(url, OTEL_EXPORTER_OTLP_METRICS_TIMEOUT="2", **otel)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            wait_until(lambda: any("are not exported" in line for line in sidecar.stderr), "the line")
            assert httpx.post(sidecar.url() + STORE, json=WRITE, trust_env=False).status_code == 200
    lines = [json.loads(line) for line in sidecar.stderr]
    (line,) = [line for line in lines if line["level"] == "error"]
    assert line["event"] == "metrics are not exported"
    assert "refused" in line["why"]
    assert not [line for line in lines if "opentelemetry" in str(line)]


def test_off_the_libraries_are_not_imported() -> None:
    """Everything else of the sidecar is."""
    script = "import sys, sidecar.app; print(sorted(name for name in sys.modules if 'opentelemetry' in name))"
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\[\]\n", printed)
