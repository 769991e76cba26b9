"""A real Consul agent in development mode, on ports of its own, that can be killed, frozen and brought back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service_kit.consul.variables import ConsulAgent
from tests.support.ports import free_ports
from tests.support.processes import wait_until

PORTS = ("http", "https", "dns", "grpc", "serf-lan", "serf-wan", "server")
CACHED = Path(__file__).parents[2] / ".cache/consul/usr/bin/consul"


def find_consul() -> str | None:
    """The program to run: on PATH, or where scripts/fetch-consul puts it."""
    return shutil.which("consul") or (str(CACHED) if CACHED.exists() else None)


class Agent:
    """One agent; everything it knows is lost when it stops."""

    def __init__(self, program: str, directory: Path, configuration: str = "") -> None:
        """`configuration` is HCL on top of development mode; it takes effect at the next start."""
        self._program = program
        self.configuration = configuration
        self._log = directory / "consul.log"
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The HTTP API's base URL."""
        return f"http://127.0.0.1:{self._ports['http']}"

    @property
    def tls_address(self) -> str:
        """Host and port of the encrypted API, which only a configuration with certificates has."""
        return f"127.0.0.1:{self._ports['https']}"

    @property
    def address(self) -> ConsulAgent:
        """The same for our own client."""
        return ConsulAgent(self.url)

    def start(self) -> None:
        """Run the agent and wait until it has a leader."""
        flags = [f"-{name}-port={port}" for name, port in self._ports.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "agent", "-dev", "-bind=127.0.0.1", "-node=test", *flags, "-hcl", self.configuration],
                stdout=log,
                stderr=log,
            )
        wait_until(self._has_leader, f"the agent to come up: {self._log}")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it from answering while its ports stay open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen agent go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def register(self, name: str, service_id: str, port: int, status: str = "passing") -> None:
        """Register an instance on loopback whose health only `turn` changes."""
        check = {"CheckID": f"{service_id}-check", "Name": "set by the test", "TTL": "1h", "Status": status}
        service = {"Name": name, "ID": service_id, "Address": "127.0.0.1", "Port": port, "Check": check}
        self._put("/v1/agent/service/register", service)

    def turn(self, service_id: str, status: str) -> None:
        """Set an instance's health: passing, warning or critical."""
        self._put(f"/v1/agent/check/update/{service_id}-check", {"Status": status})

    def services(self) -> dict[str, Any]:
        """What is registered at the agent, by id."""
        return dict(httpx.get(f"{self.url}/v1/agent/services", trust_env=False).raise_for_status().json())

    def passing(self, name: str) -> list[str]:
        """The ids of a service's passing instances."""
        answer = httpx.get(f"{self.url}/v1/health/service/{name}?passing", trust_env=False).raise_for_status()
        return [entry["Service"]["ID"] for entry in answer.json()]

    def _put(self, path: str, body: dict[str, Any]) -> None:
        httpx.put(self.url + path, json=body, trust_env=False).raise_for_status()

    def _has_leader(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the agent ended: {self._log.read_text()}")
        with contextlib.suppress(httpx.HTTPError):
            return len(httpx.get(f"{self.url}/v1/status/leader", trust_env=False).text) > 2
        return False


@pytest.fixture
def consul_agent(tmp_path: Path) -> Iterator[Agent]:
    """A running agent of the test's own; a test that wants one is skipped where there is no program to run."""
    program = find_consul()
    if program is None:
        pytest.skip("no consul agent on PATH or in .cache; scripts/fetch-consul fetches one")
    agent = Agent(program, tmp_path)
    try:
        agent.start()
        yield agent
    finally:
        agent.kill()
