"""Everything finds everything through a real Consul agent, and goes on without it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.cluster import Service
from tests.support.consul import Agent
from tests.support.migrated import migrate
from tests.support.platform import STORE
from tests.support.ports import free_ports
from tests.support.processes import wait_until

SIDECAR = "memory_service"
MEMORIES = "memory_service_behind"
SESSIONS = "session_service"


class Deployment:
    """Two session services on one database, the memory service and the sidecar, all in Consul."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        self.agent = agent
        consul = {"CONSUL_HTTP_ADDR": agent.url.removeprefix("http://")}
        memory_port, *session_ports = free_ports(3)
        sessions = {
            **consul,
            "SESSION_SERVICE_REGISTER_AS": SESSIONS,
            "SESSION_DATABASE_URL": f"sqlite:///{folder}/sessions.db",
        }
        self.sessions = [
            Service(
                "session_service",
                "session-service",
                {**sessions, "SESSION_SERVICE_LISTEN": f"127.0.0.1:{port}"},
                folder,
            )
            for port in session_ports
        ]
        memories = {
            **consul,
            "MEMORY_SERVICE_LISTEN": f"127.0.0.1:{memory_port}",
            "MEMORY_SERVICE_REGISTER_AS": MEMORIES,
            "MEMORY_DATABASE_URL": f"sqlite:///{folder}/memories.db",
        }
        self.memories = Service("memory_service", "memory-service", memories, folder)
        self._sidecar_environment = {
            **consul,
            "SIDECAR_LISTEN": "127.0.0.1:0",
            "SIDECAR_ADMIN": "127.0.0.1:0",
            "SIDECAR_REGISTER_AS": SIDECAR,
        }
        self._folder = folder
        self.sidecar: Service | None = None

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """Start all of them, and kill those that still run at the end."""
        migrate("session_service", f"sqlite:///{self._folder}/sessions.db")
        migrate("memory_service", f"sqlite:///{self._folder}/memories.db")
        try:
            with ThreadPoolExecutor() as at_once:
                list(at_once.map(Service.start, (*self.sessions, self.memories)))
            self.settled(SESSIONS, 2)
            # An address that was set explicitly, where no process listens: Consul must make it irrelevant.
            environment = {
                **self._sidecar_environment,
                "SIDECAR_UPSTREAM": self.memories.running.url(),
                "SIDECAR_SESSION_SERVICE": "http://127.0.0.1:1",
            }
            self.sidecar = Service("sidecar", "sidecar", environment, self._folder)
            self.sidecar.start()
            yield
        finally:
            for service in (self.sidecar, self.memories, *self.sessions):
                if service is not None:
                    service.kill()

    def settled(self, name: str, count: int) -> None:
        """Wait until so many instances of a service pass their checks."""
        wait_until(lambda: len(self.agent.passing(name)) == count, f"{count} passing instances of {name}")

    def first_write(self) -> httpx.Response:
        """Write for a session that was never named, through the sidecar."""
        assert self.sidecar is not None
        body = {"user_id": "alice", "session_id": f"s-{uuid.uuid4()}", "message_content": "Hello"}
        return httpx.post(self.sidecar.running.url() + STORE, json=body, timeout=30, trust_env=False)


@pytest.fixture
def deployment(consul_agent: Agent, tmp_path: Path) -> Iterator[Deployment]:
    """Everything running and registered."""
    deployment = Deployment(consul_agent, tmp_path)
    with deployment.up():
        yield deployment


def test_a_deployment_lives_through_the_loss_of_every_part_that_may_be_lost(deployment: Deployment) -> None:
    """One session service dies, then the agent, then the last session service leaves; then the sidecar leaves.

    One story, because each step starts where the one before left off, and starting all of it takes seconds.
    """
    agent = deployment.agent
    for name in (SESSIONS, MEMORIES, SIDECAR):
        deployment.settled(name, 2 if name is SESSIONS else 1)
    assert [deployment.first_write().status_code for _ in range(6)] == [200] * 6

    # One instance dies without a word: calls move to the other before Consul has noticed.
    deployment.sessions[0].kill()
    assert [deployment.first_write().status_code for _ in range(6)] == [200] * 6
    deployment.settled(SESSIONS, 1)

    # The agent dies: the last known set stays good. It comes back knowing nothing, and is told everything again.
    agent.kill()
    assert [deployment.first_write().status_code for _ in range(3)] == [200] * 3
    agent.start()
    for name in (SESSIONS, MEMORIES, SIDECAR):
        deployment.settled(name, 1)
    wait_until(lambda: deployment.first_write().status_code == 200, "the sidecar to take the fresh set")

    # The last session service leaves in order: an outage, and no fallback.
    assert deployment.sessions[1].running.stop() == 0
    assert agent.passing(SESSIONS) == []
    wait_until(lambda: deployment.first_write().status_code == 503, "the sidecar to hear of it")
    refused = deployment.first_write()
    assert refused.json()["reason"] == "session_service_unavailable"

    # The sidecar leaves in order, and is not found any more.
    assert deployment.sidecar is not None
    assert deployment.sidecar.running.stop() == 0
    assert agent.passing(SIDECAR) == []
