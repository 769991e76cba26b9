"""Plays a pod of the Kubernetes manifests with real processes, in the order in which the kubelet starts and stops them.

Commands, variables, probes and order come from the manifest. Only what a laptop has not is replaced: addresses by free
ports on loopback, secrets by the values given, volumes by a directory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from tests.support.built import ROOT
from tests.support.deployment import Manifest, environment
from tests.support.processes import Running, wait_until

PROGRAM = {"session-sidecar": "sidecar", "session-service": "session_service", "memory-service": "memory_service"}
LISTENS = ("SIDECAR_LISTEN", "SIDECAR_ADMIN", "MEMORY_SERVICE_LISTEN", "SESSION_SERVICE_LISTEN")
ROLE = {"sidecar": "sidecar", "session_service": "session-service", "memory_service": "memory-service"}


def run_job(job: Manifest, secrets: Mapping[str, str], directory: Path) -> None:
    """Run a Job's container to its end. Raises AssertionError if it fails."""
    directory.mkdir(exist_ok=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    started = _start(container, secrets, {}, directory)
    assert started.wait() == 0, started.stderr
    started.close()


class Pod:
    """One replica of a workload: its restartable init containers, then its ordinary containers."""

    def __init__(
        self, workload: Manifest, secrets: Mapping[str, str], overrides: Mapping[str, str], home: Path
    ) -> None:
        self._spec = workload["spec"]["template"]["spec"]
        self._secrets = secrets
        self._overrides = dict(overrides)
        self._home = home
        self.processes: dict[str, Running] = {}

    @property
    def main(self) -> Running:
        """The one ordinary container's process."""
        (container,) = self._spec["containers"]
        return self.processes[container["name"]]

    def start(self) -> None:
        """Start the containers one after another, each once the one before it is up; at the end the pod is ready."""
        self._home.mkdir()
        for container in (*self._spec.get("initContainers", ()), *self._spec["containers"]):
            process = _start(container, self._secrets, self._overrides, self._home)
            self.processes[container["name"]] = process
            process.wait_ready(ROLE[PROGRAM[container["command"][0]]])
            if container["name"] == "memory-service":
                self._overrides["SIDECAR_UPSTREAM"] = process.url()
            for probe in (container[kind] for kind in ("startupProbe", "readinessProbe") if kind in container):
                wait_until(lambda c=container, p=probe: self.probe(c["name"], p), f"a probe of {container['name']}")

    def probe(self, name: str, probe: Manifest) -> bool:
        """Ask as the kubelet does: an HTTP GET at a named port, or a command inside the container."""
        process = self.processes[name]
        if "exec" in probe:
            program, url = probe["exec"]["command"]
            asked = process.url() + "/" + url.split("/", 3)[3]
            script = str(ROOT / "deploy" / f"{program}.py")
            check = Running([sys.executable, script, asked], {}, self._home)
            code = check.wait()
            check.close()
            return code == 0
        get = probe["httpGet"]
        address = process.url("admin" if get["port"] == "admin" else "listen")
        return httpx.get(address + get["path"], trust_env=False, timeout=30).status_code == 200

    def stop(self, while_draining: Callable[[], None] = lambda: None) -> list[str]:
        """Send SIGTERM to the ordinary container, then to the restartable init containers in reverse order.

        Each ends before the next is told; `while_draining` runs between the first signal and the end of that process.
        Returns the names in the order in which they ended.
        """
        ended = []
        restartable = [container["name"] for container in self._spec.get("initContainers", ())]
        for name in (*(container["name"] for container in self._spec["containers"]), *reversed(restartable)):
            process = self.processes[name]
            assert process.process.poll() is None, f"{name} ended before it was told to"
            process.process.terminate()
            if not ended:
                while_draining()
            assert process.wait() == 0, process.stderr[-5:]
            ended.append(name)
        return ended

    def kill(self) -> None:
        """End the processes that still run, and close the pipes."""
        for process in self.processes.values():
            process.kill()
            process.close()


def _start(container: Manifest, secrets: Mapping[str, str], overrides: Mapping[str, str], home: Path) -> Running:
    program, *arguments = container["command"]
    variables = {name: value if value is not None else secrets[name] for name, value in environment(container).items()}
    variables |= {name: "127.0.0.1:0" for name in LISTENS if name in variables}
    if "SIDECAR_OUTBOX" in variables:
        variables["SIDECAR_OUTBOX"] = str(home / "outbox.db")
    variables |= {name: value for name, value in overrides.items() if name in variables}
    return Running([sys.executable, "-m", PROGRAM[program], *arguments], variables, home.parent)
