"""The commands on the pages about other proxies start what they promise, run as they are written.

They run in a copy of deploy/; only the ports are those of the test.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.testing import serve_session_service
from tests.support.authorizing import Memories, ask
from tests.support.built import ROOT
from tests.support.fronts import FRONTS, Front, forwards, program_of
from tests.support.ports import free_ports
from tests.support.processes import wait_until
from tests.support.servers import served

pytestmark = pytest.mark.long

COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROXY, SIDECAR, MEMORIES, SESSIONS, ADMIN, AUTHZ, ENVOY_ADMIN = 8080, 8081, 18080, 8205, 9901, 9903, 9902
SUMMARIZE = "/api/v1/memories/session/s1/summarize?user_id=ann"
"""A write that each proxy can have decided."""


@contextlib.contextmanager
def typed(command: str, folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of a page until the block ends; its output is in the file `output` of the folder."""
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def with_ports_of(text: str, ports: dict[int, int]) -> str:
    """Replace each shipped port."""
    return re.sub(r"(?<=:)[0-9]{4,5}\b|(?<=port_value: )[0-9]+", lambda port: str(ports[int(port[0])]), text)


@pytest.mark.parametrize("front", FRONTS, ids=str)
def test_the_commands_of_the_page_start_the_sidecar_and_the_proxy(front: Front, tmp_path: Path) -> None:
    """A write through the proxy makes its session exist and is forwarded; one of another user is refused."""
    program = program_of(front)
    if program is None:
        pytest.skip(f"{front.name} is not installed")
    (block,) = COMMANDS.findall((ROOT / f"docs/operators/authorizer-{front.name}.md").read_text())
    memories = Memories()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / front.programs[0]).symlink_to(program)
    path = os.pathsep.join((str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]))
    with served(memories) as upstream, serve_session_service() as sessions, contextlib.ExitStack() as stack:
        shipped = (PROXY, SIDECAR, ADMIN, AUTHZ, ENVOY_ADMIN)
        ports = dict(zip(shipped, free_ports(len(shipped)), strict=True))
        ports |= {MEMORIES: int(upstream.rpartition(":")[2]), SESSIONS: int(sessions.url.rpartition(":")[2])}
        shutil.copytree(ROOT / "deploy" / front.name, tmp_path / "deploy" / front.name)
        for file in (tmp_path / "deploy" / front.name).iterdir():
            file.write_text(with_ports_of(file.read_text(), ports))
        environment = {
            "PATH": path,
            "HOME": str(tmp_path),
            # The defaults; a command may say otherwise.
            "SIDECAR_LISTEN": f"127.0.0.1:{ports[PROXY]}",
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_SESSION_SERVICE": sessions.url,
            "SIDECAR_ADMIN": f"127.0.0.1:{ports[ADMIN]}",
        }
        address = f"127.0.0.1:{ports[PROXY]}"
        started = [
            stack.enter_context(typed(with_ports_of(line, ports), tmp_path, environment)) for line in block.splitlines()
        ]

        def ended_or(condition: bool) -> bool:
            return condition or any(process.poll() is not None for process in started)

        wait_until(lambda: ended_or(forwards(address)), f"{front} to forward reads")
        wait_until(lambda: ended_or(ask(address, "POST", SUMMARIZE).status == 200), "a write to be admitted")
        assert [process.poll() for process in started] == [None, None], (tmp_path / "output").read_text()
        assert sessions.sessions["s1"].user_id == "ann"
        assert ("POST", SUMMARIZE.partition("?")[0]) in memories.seen
        assert ask(address, "POST", SUMMARIZE.replace("ann", "bob")).status == 403
