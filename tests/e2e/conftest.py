"""The whole platform as real processes on free ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.platform import FREE_PORTS, Platform
from tests.support.processes import running


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """All three processes, as `session-sidecar up` runs them; all tests share them, with ids of their own."""
    directory: Path = tmp_path_factory.mktemp("platform")
    with (
        running("sidecar", "up", role="up", env=FREE_PORTS, cwd=directory) as up,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        yield Platform(up, http)
