"""The servers of others, each started once for the tests of a file, and sidecars in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.foreign import ForeignServer, foreign
from tests.support.sidecar_process import sidecar_process

Sidecar = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def adk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """`adk api_server` with SQLite and an agent without a model."""
    folder = tmp_path_factory.mktemp("adk")
    command = ["adk", "api_server", "--host", "127.0.0.1", "--port", "{port}"]
    options = ["--session_service_uri", "sqlite:///sessions.db", "apps"]
    with foreign("adk", *command, *options, folder=folder, alive="/list-apps") as server:
        yield server


def _langgraph(config: str, folder: Path) -> Iterator[ForeignServer]:
    command = ["langgraph", "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", "{port}"]
    env = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false"}
    with foreign("langgraph", *command, "--config", config, folder=folder, alive="/ok", env=env) as server:
        yield server


@pytest.fixture(scope="module")
def langgraph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """`langgraph dev` with a graph without a model."""
    yield from _langgraph("langgraph.json", tmp_path_factory.mktemp("langgraph"))


@pytest.fixture(scope="module")
def langgraph_with_auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """The same, with users: each bearer token is a name, each thread belongs to whom created it."""
    yield from _langgraph("with-auth.json", tmp_path_factory.mktemp("langgraph"))


@pytest.fixture(scope="module")
def agno(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """agno's AgentOS, version 3."""
    folder = tmp_path_factory.mktemp("agno")
    with foreign("agno", "python", "app.py", "{port}", folder=folder, alive="/health") as server:
        yield server


@pytest.fixture(scope="module")
def old_agno(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """The same application under AgentOS 2.3.16, whose create overwrites."""
    folder = tmp_path_factory.mktemp("agno")
    command = ["python", "app.py", "{port}"]
    with foreign("agno-2.3.16", *command, folder=folder, alive="/health", files="agno") as server:
        yield server


@pytest.fixture(scope="module")
def agent_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """agent-memory-server over a Redis in memory."""
    folder = tmp_path_factory.mktemp("agent-memory")
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "USE_DOCKET": "false", "DISABLE_AUTH": "true"}
    with foreign(
        "agent-memory-server", "python", "app.py", "{port}", folder=folder, alive="/v1/health", env=env
    ) as server:
        yield server


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """Start a sidecar in front of a server, and give a client of it."""
    with ExitStack() as stack:

        def start(server: ForeignServer, profile: str, **env: str) -> httpx.Client:
            folder = tmp_path / f"sidecar-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            started = stack.enter_context(sidecar_process(server.url, folder, SIDECAR_PROFILE=profile, **env))
            return stack.enter_context(httpx.Client(base_url=started.process.url(), timeout=60))

        yield start
