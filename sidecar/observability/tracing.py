"""Spans of a request: the whole, the decision with its calls to the session service, and the forwarding.

Imported only where tracing is on, which the standard variables of OpenTelemetry say. A request's span continues the
trace of its `traceparent` (W3C Trace Context). The session service is asked under the span of the decision; the memory
service gets the client's own `traceparent`, since forwarded bytes are not changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.http.ports import WIRE, Wire
from sidecar.observability.otlp import LAST_EXPORT, in_daemon_thread, resource_of
from sidecar.request_context import RequestContext, enter_request

_SPANS: Final = "session_guard.spans"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracing:
    """Makes and exports spans. `OTEL_*` variables say where to, which are sampled, and what the service is called."""

    def __init__(self, version: str) -> None:
        self._provider = TracerProvider(resource=resource_of(version))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("sidecar", version)

    def requests(self, app: ASGIApp) -> ASGIApp:
        """Wrap the guard: a request gets a span, and in it one for the decision.

        The lifespan and WebSockets of a hosted application pass without a span.
        """

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            wire: Wire = scope[WIRE]
            wire.wants_messages = True
            request = enter_request(wire.head)
            parent = _PROPAGATOR.extract(_trace_headers(request))
            attributes = {
                "http.request.method": request.method,
                "url.path": request.path,
                "session_guard.request_id": request.id,
            }
            span = self._tracer.start_span(request.method, parent, SpanKind.SERVER, attributes)
            with _current(span, end_on_exit=True):
                decision = self._tracer.start_span("decision")
                scope[_SPANS] = span, decision
                try:
                    with _current(decision), _asked_under(request):
                        await app(scope, receive, _noting_status(span, send, kind=SpanKind.SERVER))
                finally:
                    if decision.is_recording():
                        decision.end()
                    _describe(span, request)

        return traced

    def forwarding(self, app: ASGIApp) -> ASGIApp:
        """Wrap what forwards, inside the guard: the span of the decision ends, and the forwarding has one."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            spans: tuple[Span, Span] | None = scope.get(_SPANS)
            if spans is None:
                await app(scope, receive, send)
                return
            whole, decision = spans
            decision.end()
            parent = trace.set_span_in_context(whole)
            with self._tracer.start_as_current_span("upstream", parent, SpanKind.CLIENT) as span:
                await app(scope, receive, _noting_status(span, send, kind=SpanKind.CLIENT))

        return traced

    async def close(self) -> None:
        """Export what is left, for `LAST_EXPORT` seconds at most, and stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_EXPORT):
                await in_daemon_thread(self._provider.shutdown)

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        """Record a call to the session service that has just ended, under the current span."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"session {operation}", kind=SpanKind.CLIENT, start_time=ended - int(seconds * 1e9)
        )
        span.set_attribute("session_guard.outcome", outcome)
        if outcome == "unknown":
            span.set_status(StatusCode.ERROR)
        span.end(ended)


def _noting_status(span: Span, send: Send, *, kind: SpanKind) -> Send:
    """Put the status of the response into its span. Of a server's span a status from 500 on is an error."""

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if kind is SpanKind.SERVER and message["status"] >= 500:
                span.set_status(StatusCode.ERROR)
        await send(message)

    return noting


def _current(span: Span, *, end_on_exit: bool = False) -> AbstractContextManager[Span]:
    """Make the span the current one; an exception that passes, such as that of a client that left, is not its own."""
    return trace.use_span(span, end_on_exit, record_exception=False, set_status_on_exception=False)


@contextmanager
def _asked_under(request: RequestContext) -> Iterator[None]:
    """Have calls made for the request name the current span as their parent."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    request.trace = [(name.encode("ascii"), value.encode("ascii")) for name, value in carrier.items()]
    try:
        yield
    finally:
        request.trace = None


def _describe(span: Span, request: RequestContext) -> None:
    found = {
        "session_guard.decision": request.decision,
        "session_guard.reason": request.reason,
        "session_guard.upstream_error": request.failure,
    }
    for name, value in found.items():
        if value is not None:
            span.set_attribute(name, str(value))


def _trace_headers(request: RequestContext) -> Mapping[str, str]:
    """The fields of the trace, where each is there once; a trace that two fields name differently is not continued."""
    fields: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name.lower() in (b"traceparent", b"tracestate"):
            fields.setdefault(name.lower().decode("ascii"), []).append(value.decode("latin-1"))
    if len(fields.get("traceparent", ())) != 1:
        return {}
    return {name: ",".join(values) for name, values in fields.items()}
