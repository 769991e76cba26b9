"""Processes pinned to a core: started, waited for until they answer, weighed, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped] # its types are not worth another package here

FIXED_CORE, CONTENDER_CORE = 0, 1
"""The generator, the upstream and the session service share the first; the contender has the second to itself."""

START_WITHIN_S, STOP_WITHIN_S = 30.0, 10.0


class Failed(Exception):
    """Something that a measurement stands on did not work; the message is for a person."""


class Pinned:
    """One process and its children on one core, logging into its folder."""

    def __init__(
        self, name: str, argv: Sequence[str], core: int, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self.started = time.perf_counter()
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *argv],
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_until_answering(self, port: int, path: str = "/health") -> float:
        """Seconds from the start to the first 2xx. Raises Failed."""
        deadline = self.started + START_WITHIN_S
        while time.perf_counter() < deadline:
            if self._popen.poll() is not None:
                break
            with contextlib.suppress(OSError):
                get(port, path)
                return time.perf_counter() - self.started
            time.sleep(0.002)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise Failed(f"{self.name} is not answering on port {port}:\n{tail}")

    def wait_until_done(self) -> None:
        """Raises Failed where it ends with anything but 0."""
        if self._popen.wait(START_WITHIN_S) != 0:
            raise Failed(f"{self.name} failed:\n{self.log.read_text(errors='replace')[-2000:]}")

    def cpu_seconds(self) -> float:
        """Processor time used so far, children included."""
        return float(sum(times.user + times.system for times in (each.cpu_times() for each in self._family())))

    def resident_bytes(self) -> int:
        return sum(int(each.memory_info().rss) for each in self._family())

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGTERM)
        try:
            self._popen.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def _family(self) -> Iterator[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._popen.pid)
            yield parent
            yield from parent.children(recursive=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> str:
    """The body of a 2xx answer. Raises OSError for any other, and where no process listens."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return str(response.read().decode())
