"""What tests of this program, and of what is built on it, use in place of a network, a disk or a clock.

For users: `SessionServiceApp`, a session service in memory as an ASGI application, and the pytest plugin
`sidecar.testing.pytest_plugin`, which serves one. The rest stands for the ports of this program.
"""

from sidecar.testing.fakes import (
    Before,
    FakeClock,
    FakeDebts,
    FakeDiscovery,
    FakeForwarder,
    FakeKnownSessions,
    FakeSessionService,
    FakeTelemetry,
    permit,
)
from sidecar.testing.session_service import SessionServiceApp, serve_session_service

__all__ = [
    "Before",
    "FakeClock",
    "FakeDebts",
    "FakeDiscovery",
    "FakeForwarder",
    "FakeKnownSessions",
    "FakeSessionService",
    "FakeTelemetry",
    "SessionServiceApp",
    "permit",
    "serve_session_service",
]
