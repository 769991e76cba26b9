"""The whole platform as real processes on free ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.platform import FREE_PORTS, Platform, both_services, wrapped_memories
from tests.support.processes import running
from tests.support.ways import COMMANDS, THROUGH_WRAP_BY_DEFAULT, Way


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what runs through `wrap` with --long alone: a test whose parameter is that way."""
    parameters = getattr(item, "callspec", None)
    if parameters and "wrap" in parameters.id.split("-") and item.path.name not in THROUGH_WRAP_BY_DEFAULT:
        item.add_marker(pytest.mark.variant)


@pytest.fixture(params=COMMANDS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """A way to put the sidecar before a memory service of the test."""
    chosen: Way = request.param
    return chosen


@pytest.fixture(scope="session", params=["up", "wrap"])
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """All three processes, as `session-sidecar up` runs them; all tests share them, with ids of their own.

    Then the same with the memory service as an application under `session-sidecar wrap`.
    """
    directory: Path = tmp_path_factory.mktemp("platform")
    if request.param == "wrap":
        with (
            both_services(directory) as (sessions, memories),
            wrapped_memories(directory, sessions) as sidecar,
            httpx.Client(timeout=30, trust_env=False) as http,
        ):
            yield Platform(sidecar, http, memories=memories, sessions=sessions)
        return
    with (
        running("sidecar", "up", role="up", env=FREE_PORTS, cwd=directory) as up,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        yield Platform(up, http)
