"""Fakes for tests of this program, and of applications that use it, in place of a network, a disk or a clock.

For users: `SessionServiceApp`, a session service in memory as an ASGI application, and the pytest plugin
`sidecar.testing.pytest_plugin`, which serves one. The rest are fakes, one for each port of this program that stands
before a network, a disk or a clock; they pass the tests of the adapters that they stand for.
"""

from sidecar.testing.fake_sessions import Before, FakeDebts, FakeSessionService
from sidecar.testing.fakes import FakeClock, FakeDiscovery, FakeForwarder, FakeTelemetry, permit
from sidecar.testing.session_service import SessionServiceApp, serve_session_service

__all__ = [
    "Before",
    "FakeClock",
    "FakeDebts",
    "FakeDiscovery",
    "FakeForwarder",
    "FakeSessionService",
    "FakeTelemetry",
    "SessionServiceApp",
    "permit",
    "serve_session_service",
]
