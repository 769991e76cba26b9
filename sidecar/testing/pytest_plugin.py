"""The pytest fixture for users: `pytest_plugins = ["sidecar.testing.pytest_plugin"]` in a `conftest.py` enables it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.testing.session_service import SessionServiceApp, serve_session_service


@pytest.fixture
def session_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionServiceApp]:
    """Serve an empty session service in memory, and point `SIDECAR_SESSION_SERVICE` at it."""
    with serve_session_service() as service:
        monkeypatch.setenv("SIDECAR_SESSION_SERVICE", service.url)
        yield service
