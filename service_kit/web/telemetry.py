"""What is known of each request: its id in every log line and in the answer, and counts and times under `/metrics`."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Final

import structlog
from fastapi import FastAPI
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: Final = "X-Request-ID"
_UNMATCHED: Final = "unmatched"
_SAFE_ID: Final = re.compile(r"[\x21-\x7e]{1,255}").fullmatch
# W3C Trace Context, section 3.2: version, trace id, parent id, flags; later versions may append more.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
).fullmatch

_log = structlog.get_logger()


class RequestMetrics:
    """Counts and times of requests, by the route's template, so that no client decides how many series there are."""

    def __init__(self, prefix: str) -> None:
        """`prefix` begins the names of the metrics."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            f"{prefix}_requests",
            "Requests by method, route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            f"{prefix}_request_seconds",
            "From a request's head to the head of its answer, in seconds.",
            ["route"],
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class Telemetry:
    """Middleware that puts the id of a request into its log lines and its answer, and counts it.

    The id is `X-Request-ID`, the trace id that of `traceparent`; neither is made up where it is missing.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, ids = _ids(Headers(scope=scope))
        scope[REQUEST_ID] = request_id
        started = time.perf_counter()
        answered = False

        def count(status: int) -> None:
            nonlocal answered
            answered = True
            route = getattr(scope.get("route"), "path", _UNMATCHED)
            method = scope["method"] if route != _UNMATCHED else _UNMATCHED
            seconds = time.perf_counter() - started
            self._metrics.observe(method, route, status, seconds)
            if status >= 500:
                what = {"method": scope["method"], "path": scope["path"], "status": status}
                _log.warning("request failed", **what, seconds=round(seconds, 6))

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                if request_id is not None:
                    MutableHeaders(scope=message)[REQUEST_ID] = request_id
                count(message["status"])
            await send(message)

        with structlog.contextvars.bound_contextvars(**ids) if ids else contextlib.nullcontext():
            try:
                await self._app(scope, receive, watched)
            except Exception:
                if not answered:
                    count(500)
                _log.exception("request ended in an error", method=scope["method"], path=scope["path"])
                raise


def install(app: FastAPI, prefix: str) -> None:
    """Serve `/metrics` (Prometheus) and watch every request; to be called after all other middleware was added."""
    metrics = RequestMetrics(prefix)

    async def exposition(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.add_route("/metrics", exposition, include_in_schema=False)
    app.add_middleware(Telemetry, metrics=metrics)


def _ids(headers: Headers) -> tuple[str | None, dict[str, str]]:
    """The request's id, and what its log lines carry."""
    request_id = headers.get(REQUEST_ID)
    request_id = request_id if request_id and _SAFE_ID(request_id) else None
    trace = _TRACEPARENT(headers.get("traceparent", ""))
    ids = {"request_id": request_id, "trace_id": trace[1] if trace else None}
    return request_id, {name: value for name, value in ids.items() if value is not None}
