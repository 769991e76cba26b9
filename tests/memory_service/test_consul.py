"""The service's place in Consul."""

from __future__ import annotations

from pathlib import Path

from memory_service.app import build
from memory_service.settings import Settings
from tests.support.consul import Agent, consul_agent
from tests.support.eventually import eventually
from tests.support.memories import memory_migrations
from tests.support.servers import served

__all__ = ["consul_agent"]


async def test_it_is_in_consul_while_it_serves_and_only_then(tmp_path: Path, consul_agent: Agent) -> None:
    """Registered once it answers, passing by its own health, and gone after the stop."""
    url = f"sqlite:///{tmp_path}/memory.db"
    await memory_migrations(url).move()
    with served(build(Settings(MEMORY_DATABASE_URL=url)), lifespan="on") as where:
        service = build(
            Settings(
                MEMORY_DATABASE_URL=url,
                MEMORY_SERVICE_ADVERTISE=where.removeprefix("http://"),
                MEMORY_SERVICE_REGISTER_AS="memory_service_behind",
                CONSUL_HTTP_ADDR=consul_agent.url,
            )
        )
        await service.started()
        await eventually(lambda: consul_agent.passing("memory_service_behind"))
        (registered,) = consul_agent.services().values()
        assert f"http://{registered['Address']}:{registered['Port']}" == where
        await service.stopping()
        assert consul_agent.services() == {}


def test_it_is_not_in_consul_unless_asked(tmp_path: Path) -> None:
    """An agent alone is no reason to register."""
    settings = Settings(MEMORY_DATABASE_URL=f"sqlite:///{tmp_path}/m.db", CONSUL_HTTP_ADDR="127.0.0.1:8500")
    assert settings.registration() is None
