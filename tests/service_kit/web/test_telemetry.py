"""Request ids in answers and log lines, and the figures under `/metrics`."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
from fastapi import FastAPI

from service_kit.logs import configure_logging
from service_kit.web import problems, telemetry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def logged(own_logging: None, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Logging as a service has it, into a text."""
    stream = io.StringIO()
    configure_logging(None, "demo", stream=stream)
    monkeypatch.setattr("service_kit.web.telemetry._log", structlog.get_logger())  # the old one may know another stream
    return stream


@pytest.fixture
async def client(logged: io.StringIO) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to a small application."""
    app = FastAPI()

    @app.get("/items/{item}")
    async def item(item: str) -> str:
        structlog.get_logger().info("looked", item=item)
        return item

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("no luck")

    problems.install(app)
    telemetry.install(app, "demo")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as opened:
        yield opened


async def test_the_ids_of_a_request_stand_in_its_log_lines(client: httpx.AsyncClient, logged: io.StringIO) -> None:
    """The id from `X-Request-ID` and the trace id from `traceparent`, and the id in the answer."""
    response = await client.get("/items/a", headers={"X-Request-ID": "r-1", "traceparent": TRACEPARENT})
    assert response.headers["x-request-id"] == "r-1"
    (line,) = logged.getvalue().splitlines()
    told = json.loads(line)
    assert {name: told[name] for name in ("event", "item", "request_id", "trace_id", "role", "level")} == {
        "event": "looked",
        "item": "a",
        "request_id": "r-1",
        "trace_id": TRACE,
        "role": "demo",
        "level": "info",
    }


@pytest.mark.parametrize("headers", [{}, {"X-Request-ID": "a b"}, {"X-Request-ID": "x" * 256}, {"traceparent": "00-0"}])
async def test_no_id_is_made_up(client: httpx.AsyncClient, logged: io.StringIO, headers: dict[str, str]) -> None:
    """A request without an id that can be used has none."""
    response = await client.get("/items/a", headers=headers)
    assert "x-request-id" not in response.headers
    told = json.loads(logged.getvalue())
    assert not {"request_id", "trace_id"} & told.keys()


async def test_an_error_is_logged_with_the_id_and_every_line_is_json(
    client: httpx.AsyncClient, logged: io.StringIO
) -> None:
    """Tracebacks too, which stand within one line."""
    response = await client.get("/broken", headers={"X-Request-ID": "r-2"})
    assert (response.status_code, response.json()["reason"]) == (500, "internal_error")
    assert response.headers["x-request-id"] == "r-2"
    logging.getLogger("library").warning("something %s", "odd")
    told = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [one["request_id"] for one in told if "request" in one["event"]] == ["r-2", "r-2"]
    assert any("RuntimeError: no luck" in one.get("exception", "") for one in told)
    assert told[-1]["event"] == "something odd"


async def test_requests_are_counted_by_route_and_status(client: httpx.AsyncClient) -> None:
    """The template of the route, so that ids do not become labels; what has no route has one label of its own."""
    for path in ("/items/a", "/items/b", "/nowhere", "/elsewhere", "/broken"):
        await client.get(path)
    lines = (await client.get("/metrics")).text.splitlines()
    assert 'demo_requests_total{method="GET",route="/items/{item}",status="200"} 2.0' in lines
    assert 'demo_requests_total{method="unmatched",route="unmatched",status="404"} 2.0' in lines
    assert 'demo_requests_total{method="GET",route="/broken",status="500"} 1.0' in lines
    assert 'demo_request_seconds_count{route="/items/{item}"} 2.0' in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
