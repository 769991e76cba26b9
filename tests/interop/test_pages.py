"""The pages of docs/operators/profiles: each call on them is made, at the server and at the sidecar, and compared."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import Sidecar
from tests.support.foreign import ROOT
from tests.support.processes import run_to_end, running

PAGES = ROOT / "docs" / "operators" / "profiles"
SERVERS = {"adk": "adk", "langgraph": "langgraph", "agno": "agno", "agent-memory-server": "agent_memory"}
BLOCK = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def calls(page: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that the page shows below it."""
    for block in BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")):
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


@pytest.mark.parametrize("page", SERVERS)
def test_a_page_shows_what_happens(
    page: str, request: pytest.FixtureRequest, sidecar: Sidecar, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The server's port stands in the page's one command, 8080 is the sidecar's."""
    server = request.getfixturevalue(SERVERS[page])
    commands = list(calls(page))
    (serve,) = [command for command, _ in commands if command.endswith("session-sidecar serve")]
    settings = dict(word.split("=", 1) for word in shlex.split(serve) if "=" in word)
    upstream = settings.pop("SIDECAR_UPSTREAM")
    folder = tmp_path_factory.mktemp("sessions")
    env = {"SESSION_DATABASE_URL": "sqlite:///sessions.db", "SESSION_SERVICE_LISTEN": "127.0.0.1:0"}
    run_to_end("session_service", "migrate", env=env, cwd=folder)
    with running("session_service", "serve", role="session-service", env=env, cwd=folder) as sessions:
        client = sidecar(server, settings.pop("SIDECAR_PROFILE"), SIDECAR_SESSION_SERVICE=sessions.url(), **settings)
        through = str(client.base_url).rstrip("/")
        for command, shown in commands:
            if command.startswith("curl "):
                real = command.replace(upstream, server.url).replace("http://127.0.0.1:8080", through)
                assert curl(real, folder) == shown, command


def curl(command: str, folder: Path) -> str:
    """What a command line of curl prints."""
    done = subprocess.run(shlex.split(command), cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout
