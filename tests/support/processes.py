"""Real processes for tests: started on free ports, waited for by their ready line, always stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import Empty, Queue

DEADLINE = 60.0
"""Seconds that something may take on a busy machine before a test gives up waiting for it."""


def wait_until(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Poll until the condition holds; fail the test, naming what never came, after the deadline."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline:g} s in vain for {what}")
        time.sleep(0.01)


class Running:
    """A process that was started, its output, and the addresses it named when it was ready."""

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: Path) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        self.process = subprocess.Popen(
            command,
            env={**kept, "PYTHONUNBUFFERED": "1", **env},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addresses: dict[str, str] = {}
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._ready: Queue[str | None] = Queue()
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.stdout.append(line.rstrip("\n"))
            if line.startswith("ready "):
                self._ready.put(line)
        self._ready.put(None)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr.append(line.rstrip("\n"))

    def wait_ready(self, role: str) -> None:
        """Wait for the ready line of this role and remember its addresses."""
        while True:
            try:
                line = self._ready.get(timeout=DEADLINE)
            except Empty:
                raise AssertionError(f"no ready line from {role}: {self.stderr}") from None
            if line is None:
                self.process.wait()
                raise AssertionError(f"{role} ended with {self.process.returncode} before it was ready: {self.stderr}")
            words = dict(word.split("=", 1) for word in line.split()[1:])
            if words.pop("role") == role:
                self.addresses = words
                return

    def url(self, name: str = "listen") -> str:
        """The base URL of an address of the ready line."""
        return f"http://{self.addresses[name]}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal once and wait; gives the exit code (negative: ended by that signal)."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; kills, and fails the test, if it does not come."""
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.process.args} did not end: {self.stderr[-5:]}") from None
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self.process.kill()
        self.wait()

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@contextlib.contextmanager
def running(package: str, *arguments: str, role: str, env: Mapping[str, str], cwd: Path) -> Iterator[Running]:
    """Run `python -m PACKAGE ARGUMENTS` until the block ends; it is ready when the block begins."""
    started = Running([sys.executable, "-m", package, *arguments], env, cwd)
    try:
        started.wait_ready(role)
        yield started
    finally:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGTERM)
            try:
                started.process.wait(15)
            except subprocess.TimeoutExpired:
                started.process.kill()
        started.wait()
        started.close()


def run_to_end(package: str, *arguments: str, env: Mapping[str, str], cwd: Path) -> Running:
    """Run a command that ends by itself, and give what it left."""
    finished = Running([sys.executable, "-m", package, *arguments], env, cwd)
    finished.wait()
    finished.close()
    return finished
