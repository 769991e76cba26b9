"""A service is in Consul while it runs, also after the agent was away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import service_kit.consul.registration
from service_kit.consul.registration import Registration, health_url
from service_kit.consul.variables import ConsulAgent
from service_kit.process.address import Address, Tcp, Unix
from tests.support.consul import Agent
from tests.support.eventually import eventually, eventually_in_thread
from tests.support.ports import free_ports
from tests.support.servers import served


@pytest.fixture
async def health() -> AsyncIterator[Tcp]:
    """A service that says it is well, on every path."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield Tcp(*server.sockets[0].getsockname())


@pytest.fixture
def listener() -> Iterator[Tcp]:
    """Something that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Tcp(*server.getsockname())


async def test_registers_with_id_tags_and_a_health_check(consul_agent: Agent, health: Tcp) -> None:
    """The instance is visible, tagged, and turns passing by Consul's own check."""
    registration = Registration(
        consul_agent.address, name="session_service", advertise=health, health="/health", tags=["blue"]
    )
    await registration.start()
    try:
        assert await eventually_in_thread(lambda: consul_agent.passing("session_service")) == [registration.service_id]
        service = consul_agent.services()[registration.service_id]
        assert (service["Address"], service["Port"], service["Tags"]) == (health.host, health.port, ["blue"])
    finally:
        await registration.stop()


async def test_an_accepted_connection_is_health_enough_without_a_path(consul_agent: Agent, listener: Tcp) -> None:
    """A service without a health path is checked by connecting to it."""
    registration = Registration(consul_agent.address, name="memory_service", advertise=listener)
    await registration.start()
    try:
        assert await eventually_in_thread(lambda: consul_agent.passing("memory_service"))
    finally:
        await registration.stop()


async def test_is_gone_after_stop(consul_agent: Agent, health: Tcp) -> None:
    """Stopping deregisters at once, without waiting for checks to fail."""
    registration = Registration(consul_agent.address, name="session_service", advertise=health, health="/health")
    await registration.start()
    await eventually_in_thread(lambda: registration.service_id in consul_agent.services())
    await registration.stop()
    assert consul_agent.services() == {}


async def test_registers_again_after_the_agent_restarted(consul_agent: Agent, health: Tcp) -> None:
    """An agent that forgot everything is told again."""
    registration = Registration(consul_agent.address, name="session_service", advertise=health, health="/health")
    await registration.start()
    try:
        await eventually_in_thread(lambda: registration.service_id in consul_agent.services())
        consul_agent.kill()
        consul_agent.start()
        assert await eventually_in_thread(lambda: registration.service_id in consul_agent.services())
    finally:
        await registration.stop()


async def test_replaces_what_a_killed_predecessor_left(consul_agent: Agent, health: Tcp) -> None:
    """The same address registers under the same id, with today's tags."""
    arguments = {"name": "session_service", "advertise": health, "health": "/health"}
    predecessor = Registration(consul_agent.address, **arguments, tags=["old"])
    await predecessor.start()
    await eventually_in_thread(lambda: predecessor.service_id in consul_agent.services())
    successor = Registration(consul_agent.address, **arguments, tags=["new"])
    await successor.start()
    try:
        await eventually_in_thread(lambda: [each["Tags"] for each in consul_agent.services().values()] == [["new"]])
    finally:
        await predecessor.stop()
        await successor.stop()


async def test_processes_behind_one_address_are_registered_and_leave_one_by_one(
    consul_agent: Agent, health: Tcp
) -> None:
    """Deregistering one leaves the other in place."""
    arguments = {"name": "session_service", "advertise": health, "health": "/health"}
    first, second = (
        Registration(consul_agent.address, **arguments, process=f"host-unix:/run/{name}") for name in ("a", "b")
    )
    await first.start()
    await second.start()
    try:
        both = {first.service_id, second.service_id}
        assert len(both) == 2
        await eventually_in_thread(lambda: consul_agent.services().keys() == both)
        await first.stop()
        assert set(consul_agent.services()) == {second.service_id}
    finally:
        await first.stop()
        await second.stop()


async def test_registers_once_consul_appears(consul_agent: Agent, health: Tcp) -> None:
    """A service started before its agent is registered as soon as there is one."""
    consul_agent.kill()
    registration = Registration(consul_agent.address, name="session_service", advertise=health, health="/health")
    await registration.start()
    try:
        consul_agent.start()
        assert await eventually_in_thread(lambda: registration.service_id in consul_agent.services())
    finally:
        await registration.stop()


@pytest.mark.parametrize(
    ("listen", "agent", "url"),
    [
        (Tcp("127.0.0.1", 9901), "http://127.0.0.1:8500", "http://127.0.0.1:9901/readyz"),
        (Tcp("127.0.0.1", 9901), "http://consul.example:8500", None),
        (Tcp("10.0.0.5", 9901), "http://consul.example:8500", "http://10.0.0.5:9901/readyz"),
        (Tcp("0.0.0.0", 9901), "http://consul.example:8500", "http://10.0.0.9:9901/readyz"),
        (Tcp("::", 9901), "http://localhost:8500", "http://10.0.0.9:9901/readyz"),
        (Unix("/run/admin.sock"), "http://127.0.0.1:8500", None),
    ],
)
def test_health_is_asked_where_the_agent_can_reach_it(listen: Address, agent: str, url: str | None) -> None:
    """A loopback address is no use to an agent elsewhere, and a wildcard is no address at all."""
    assert health_url(listen, "/readyz", advertise=Tcp("10.0.0.9", 80), agent=ConsulAgent(agent)) == url


STRANGE = {"a number": b"5", "a text": b'"session_service-127.0.0.1-1"', "null": b"null", "nested": b"[" * 100_000}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
async def test_goes_on_after_a_strange_answer(strange: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is no object of services is one more failure; the next that is one is acted on."""
    monkeypatch.setattr(service_kit.consul.registration, "VERIFY_EVERY", 0.01)
    answers = [strange, strange]
    registered: list[str] = []

    async def services(_request: Request) -> Response:
        return Response(answers.pop() if answers else b"{}")

    async def register(request: Request) -> Response:
        registered.append((await request.json())["id"])
        return Response()

    routes = [
        Route("/v1/agent/services", services),
        Route("/v1/agent/service/register", register, methods=["PUT"]),
        Route("/v1/agent/service/deregister/{id}", lambda _request: Response(), methods=["PUT"]),
    ]
    with served(Starlette(routes=routes)) as url:
        registration = Registration(ConsulAgent(url), name="session_service", advertise=Tcp("127.0.0.1", 1))
        await registration.start()
        await eventually(lambda: not answers)
        before = len(registered)
        await eventually(lambda: len(registered) > before)
        await registration.stop()
    assert set(registered) == {registration.service_id}


async def test_stops_quietly_without_consul() -> None:
    """Where no agent answers, stopping raises nothing, however often, and leaves no task behind."""
    agent = ConsulAgent(f"http://127.0.0.1:{free_ports(1)[0]}")
    registration = Registration(agent, name="session_service", advertise=Tcp("127.0.0.1", 1))
    await registration.start()
    await registration.stop()
    await registration.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
