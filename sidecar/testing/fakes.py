"""Fakes of the ports to the clock, the instances, the upstream and the metrics. Each records its calls."""

# ruff: noqa: ARG002 # a fake takes what its port takes, whether it uses it or not

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from sidecar.guard.decisions import Allow
from sidecar.guard.permit import SEAL, Permit, PermitLapsed
from sidecar.guard.ports import Telemetry
from sidecar.http.client.forwarder import Forwarder
from sidecar.http.client.response import UpstreamError
from sidecar.model import Grounds, Reason, Reference


class FakeClock:
    """A clock in seconds that moves by `advance` alone."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock on by so many seconds."""
        self.now += seconds


@dataclass
class FakeDiscovery:
    """The `Discovery` port over a list of base URLs, given in turn; `reports` holds the reported (URL, ok) pairs."""

    urls: list[str] = field(default_factory=list)
    reports: list[tuple[str, bool]] = field(default_factory=list)

    def pick(self) -> str | None:
        if not self.urls:
            return None
        self.urls.append(self.urls.pop(0))
        return self.urls[-1]

    def report(self, url: str, *, ok: bool) -> None:
        self.reports.append((url, ok))


@dataclass
class FakeForwarder(Forwarder):
    """A forwarder without an upstream: it answers 200 and records the request, or raises `failure`.

    `wait` stands for the wait for a connection; without one there is always a connection free.
    """

    forwarded: list[tuple[Allow, bytes]] = field(default_factory=list)
    failure: UpstreamError | None = None
    wait: Callable[[], None] | None = None

    async def forward(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        if self.wait is not None:
            self.wait()
            if not permit.still_valid():
                raise PermitLapsed
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if self.failure is not None:
            raise self.failure
        self.forwarded.append((Allow(permit.grounds), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class FakeTelemetry(Telemetry):
    """The `Telemetry` port as lists: `decisions` of (decision, reason), their `references`, and all else in `notes`."""

    decisions: list[tuple[str, Reason | None]] = field(default_factory=list)
    references: list[Reference | None] = field(default_factory=list)
    notes: list[tuple[Any, ...]] = field(default_factory=list)

    def decided(
        self,
        decision: str,
        reason: Reason | None = None,
        reference: Reference | None = None,
        detail: str | None = None,
    ) -> None:
        self.decisions.append((decision, reason))
        self.references.append(reference)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        self.notes.append(("upstream_failed", reason))

    def unguarded_write(self) -> None:
        self.notes.append(("unguarded_write",))

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        self.notes.append(("session_call", operation, outcome))

    def breaker(self, *, is_open: bool) -> None:
        self.notes.append(("breaker", is_open))

    def events_connected(self, *, connected: bool) -> None:
        self.notes.append(("events_connected", connected))

    def debt_conflict(self, reference: Reference, outcome: str) -> None:
        self.notes.append(("debt_conflict", reference, outcome))

    def shadow_dropped(self) -> None:
        self.notes.append(("shadow_dropped",))

    def upstream(self, seconds: float) -> None:
        self.notes.append(("upstream",))

    def overhead(self, seconds: float) -> None:
        self.notes.append(("overhead",))


def permit(grounds: Grounds = Grounds.PASSED) -> Permit:
    """Issue a permit for a test of what comes after the guard."""
    return Permit(SEAL, grounds)
