"""The service's place in Consul."""

from __future__ import annotations

from pathlib import Path

from memory_service.settings import Settings
from tests.support.consul import Agent, consul_agent
from tests.support.eventually import eventually_in_thread
from tests.support.memories import memory_migrations
from tests.support.ports import free_ports
from tests.support.processes import running

__all__ = ["consul_agent"]


async def test_it_is_in_consul_while_it_serves_and_only_then(tmp_path: Path, consul_agent: Agent) -> None:
    """Registered once it answers, passing by its own health, and gone after the stop."""
    url = f"sqlite:///{tmp_path}/memory.db"
    await memory_migrations(url).move()
    (port,) = free_ports(1)
    env = {
        "MEMORY_DATABASE_URL": url,
        "MEMORY_SERVICE_LISTEN": f"127.0.0.1:{port}",
        "MEMORY_SERVICE_REGISTER_AS": "memory_service_behind",
        "CONSUL_HTTP_ADDR": consul_agent.url,
    }
    with running("memory_service", "serve", role="memory-service", env=env, cwd=tmp_path) as service:
        await eventually_in_thread(lambda: consul_agent.passing("memory_service_behind"))
        (registered,) = consul_agent.services().values()
        assert (registered["Address"], registered["Port"]) == ("127.0.0.1", port)
        assert service.stop() == 0
    assert consul_agent.services() == {}


def test_it_is_not_in_consul_unless_asked(tmp_path: Path) -> None:
    """An agent alone is no reason to register."""
    settings = Settings(MEMORY_DATABASE_URL=f"sqlite:///{tmp_path}/m.db", CONSUL_HTTP_ADDR="127.0.0.1:8500")
    assert settings.registration() is None
