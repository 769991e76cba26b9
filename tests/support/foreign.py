"""Servers that others wrote, as real processes: installed by scripts/interop, started on free ports of loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_ports
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "interop"
APPS = ROOT / "tests" / "interop"


class ForeignServer:
    """One server: what it is started with, and its address. `{port}` in the command is its port.

    It runs in a folder of its own that holds a copy of its application, so that a restart finds what it has stored.
    """

    def __init__(
        self, name: str, command: list[str], folder: Path, *, env: Mapping[str, str], alive: str, files: str
    ) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self._command = [str(CACHE / name / "bin" / command[0]), *(one.format(port=port) for one in command[1:])]
        self._env = dict(env)
        self._alive = alive
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(APPS / files, folder, dirs_exist_ok=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        home = {"HOME": str(self.folder), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**kept, **home, **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._answers, f"{self._command[0]}: {self.log()}", 90)

    def stop(self) -> None:
        """End it with everything that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log(self) -> str:
        """The last of what it has said."""
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._command[0]} ended: {self.log()}"
        try:
            return httpx.get(self.url + self._alive, timeout=5).status_code < 500
        except httpx.HTTPError:
            return False


@contextlib.contextmanager
def foreign(
    name: str, *command: str, folder: Path, alive: str, env: Mapping[str, str] | None = None, files: str | None = None
) -> Iterator[ForeignServer]:
    """Run one until the block ends; skips the test where it is not installed. `alive` is a path that it answers.

    It runs in a copy of the folder of its own name in tests/interop, or of the one that `files` names.
    """
    if not (CACHE / name / "installed.lock").exists():
        pytest.skip(f"{name} is not installed: scripts/interop installs it")
    server = ForeignServer(name, list(command), folder, env=env or {}, alive=alive, files=files or name)
    try:
        server.start()
        yield server
    finally:
        server.stop()
