"""Sidecars ask passing session services only, in turn, and survive the absence of Consul."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from service_kit.consul.variables import ConsulAgent
from sidecar.profile.loading import find_profile
from sidecar.session_client.consul_discovery import AVOID_SECONDS, ConsulDiscovery, Rotation
from sidecar.session_client.discovery import FixedAddress, InConsul, session_service_of
from sidecar.settings import Settings
from sidecar.testing import FakeClock
from tests.support.consul import Agent
from tests.support.eventually import eventually
from tests.support.ports import free_ports

NAME = "session_service"
FALLBACK = "http://127.0.0.1:8205"


@contextlib.asynccontextmanager
async def following(agent: ConsulAgent, fallback: str | None = None) -> AsyncIterator[ConsulDiscovery]:
    """A discovery that has been started and will be stopped."""
    discovery = ConsulDiscovery(agent, NAME, fallback)
    await discovery.start()
    try:
        yield discovery
    finally:
        await discovery.stop()


def urls(*ports: int) -> set[str]:
    """What loopback instances on these ports are called."""
    return {f"http://127.0.0.1:{port}" for port in ports}


def picks(discovery: ConsulDiscovery, times: int = 12) -> set[str | None]:
    """The different answers of several picks."""
    return {discovery.pick() for _ in range(times)}


def test_a_fixed_address_is_always_picked() -> None:
    """A fixed address is picked, whatever is reported of it."""
    fixed = FixedAddress(FALLBACK)
    fixed.report(FALLBACK, ok=False)
    assert fixed.pick() == FALLBACK


AGENT = ConsulAgent("http://127.0.0.1:8500")
ADK = find_profile("adk")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, "http://127.0.0.1:8205"),
        ({"session_service": "http://s:1"}, "http://s:1"),
        ({"consul_http_addr": "127.0.0.1"}, InConsul(AGENT, NAME)),
        ({"consul_http_addr": "127.0.0.1", "session_service": "http://s:1"}, InConsul(AGENT, NAME, "http://s:1")),
        ({"consul_http_addr": "127.0.0.1", "profile": ADK, "upstream": "http://u:1"}, "http://u:1"),
    ],
    ids=["default", "fixed", "Consul", "Consul with a fallback", "upstream"],
)
def test_where_the_session_service_is(given: dict[str, Any], where: str | InConsul) -> None:
    """The profile decides first, then whether there is a Consul; an address that was not set is no fallback."""
    assert session_service_of(Settings(**given)) == where


async def test_finds_passing_instances_only(consul_agent: Agent) -> None:
    """Instances that are critical or in warning state are not picked."""
    consul_agent.register(NAME, "well", 1001)
    consul_agent.register(NAME, "critical", 1002, status="critical")
    consul_agent.register("another_service", "other", 1003)
    async with following(consul_agent.address) as discovery:
        assert picks(discovery) == urls(1001)


async def test_spreads_calls_over_instances_in_turn(consul_agent: Agent) -> None:
    """Each instance is picked as often as any other."""
    for port in (1001, 1002, 1003):
        consul_agent.register(NAME, f"i{port}", port)
    async with following(consul_agent.address) as discovery:
        seen = [discovery.pick() for _ in range(9)]
    assert {url: seen.count(url) for url in seen} == dict.fromkeys(urls(1001, 1002, 1003), 3)


async def test_moves_away_from_an_instance_that_turns_critical(consul_agent: Agent) -> None:
    """An instance that turns critical is not picked once Consul has said so."""
    consul_agent.register(NAME, "a", 1001)
    consul_agent.register(NAME, "b", 1002)
    async with following(consul_agent.address) as discovery:
        assert picks(discovery) == urls(1001, 1002)
        await asyncio.to_thread(consul_agent.turn, "a", "critical")
        await eventually(lambda: picks(discovery) == urls(1002))
        await asyncio.to_thread(consul_agent.turn, "a", "passing")
        await eventually(lambda: picks(discovery) == urls(1001, 1002))


async def test_goes_on_while_the_agent_is_dead_and_takes_a_fresh_set_when_it_is_back(consul_agent: Agent) -> None:
    """The last known instances are picked while the agent is dead, and a fresh set once it is back."""
    consul_agent.register(NAME, "a", 1001)
    async with following(consul_agent.address) as discovery:
        assert picks(discovery) == urls(1001)
        consul_agent.kill()
        await eventually(lambda: discovery._away)
        assert picks(discovery) == urls(1001)
        await asyncio.to_thread(consul_agent.start)
        await asyncio.to_thread(consul_agent.register, NAME, "b", 1002)
        await eventually(lambda: picks(discovery) == urls(1002))


async def test_picks_while_the_agent_is_frozen(consul_agent: Agent) -> None:
    """Instances are picked while the agent hangs."""
    consul_agent.register(NAME, "a", 1001)
    async with following(consul_agent.address) as discovery:
        consul_agent.freeze()
        assert picks(discovery) == urls(1001)


async def test_all_instances_critical_is_an_outage_once_one_was_named(consul_agent: Agent) -> None:
    """Once Consul has named an instance, the fallback is not used any more."""
    consul_agent.register(NAME, "a", 1001)
    async with following(consul_agent.address, FALLBACK) as discovery:
        assert picks(discovery) == urls(1001)
        await asyncio.to_thread(consul_agent.turn, "a", "critical")
        await eventually(lambda: picks(discovery) == {None})


async def test_falls_back_until_consul_names_an_instance(consul_agent: Agent) -> None:
    """The fallback address is picked until Consul has named an instance."""
    async with following(consul_agent.address, FALLBACK) as discovery:
        assert picks(discovery) == {FALLBACK}
        await asyncio.to_thread(consul_agent.register, NAME, "a", 1001)
        await eventually(lambda: picks(discovery) == urls(1001))


async def test_without_fallback_nothing_named_is_an_outage(consul_agent: Agent) -> None:
    """Without a fallback nothing is picked until Consul names an instance."""
    async with following(consul_agent.address) as discovery:
        assert discovery.pick() is None


async def test_starts_without_consul_and_finds_it_later(consul_agent: Agent) -> None:
    """An agent that is started later is found."""
    consul_agent.kill()
    async with following(consul_agent.address, FALLBACK) as discovery:
        assert discovery.pick() == FALLBACK
        await asyncio.to_thread(consul_agent.start)
        await asyncio.to_thread(consul_agent.register, NAME, "a", 1001)
        await eventually(lambda: picks(discovery) == urls(1001))


async def test_passes_over_an_instance_that_was_reported(consul_agent: Agent) -> None:
    """An instance that refused a connection is passed over before Consul has noticed."""
    consul_agent.register(NAME, "a", 1001)
    consul_agent.register(NAME, "b", 1002)
    async with following(consul_agent.address) as discovery:
        discovery.report("http://127.0.0.1:1001", ok=False)
        assert picks(discovery) == urls(1002)


class TestRotation:
    """The order of picks, with a clock of its own."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """A time that stands still."""
        return FakeClock()

    @pytest.fixture
    def rotation(self, clock: FakeClock) -> Rotation:
        """Two instances, a and b."""
        rotation = Rotation(clock)
        rotation.replace(["a", "b"])
        return rotation

    def test_forgives_after_a_while(self, rotation: Rotation, clock: FakeClock) -> None:
        """A reported instance is picked again after some seconds."""
        rotation.report("a", ok=False)
        assert {rotation.pick() for _ in range(4)} == {"b"}
        clock.advance(AVOID_SECONDS)
        assert {rotation.pick() for _ in range(4)} == {"a", "b"}

    def test_forgives_at_once_what_answers(self, rotation: Rotation) -> None:
        """An answer from a reported instance makes it picked again at once."""
        rotation.report("a", ok=False)
        rotation.report("a", ok=True)
        assert {rotation.pick() for _ in range(4)} == {"a", "b"}

    def test_gives_the_least_recent_failure_when_all_failed(self, rotation: Rotation, clock: FakeClock) -> None:
        """Where all instances failed, the one that failed least recently is picked."""
        rotation.report("a", ok=False)
        clock.advance(1)
        rotation.report("b", ok=False)
        assert {rotation.pick() for _ in range(4)} == {"a"}

    def test_who_comes_back_starts_anew(self, rotation: Rotation) -> None:
        """A failure is forgotten once Consul has taken the instance out and put it in again."""
        rotation.report("a", ok=False)
        rotation.replace(["b"])
        rotation.replace(["a", "b"])
        assert {rotation.pick() for _ in range(4)} == {"a", "b"}

    def test_ignores_reports_of_strangers(self, rotation: Rotation) -> None:
        """A report about an instance that is gone leaves nothing behind."""
        rotation.report("gone", ok=False)
        assert {rotation.pick() for _ in range(4)} == {"a", "b"}


def entries(*ports: int) -> bytes:
    """What Consul answers for these instances."""
    return json.dumps(
        [{"Node": {"Address": "127.0.0.1"}, "Service": {"Address": "", "Port": port}} for port in ports]
    ).encode()


@contextlib.asynccontextmanager
async def scripted(*answers: tuple[int, int | None, bytes]) -> AsyncIterator[tuple[ConsulAgent, list[str]]]:
    """A stand-in for what no healthy agent says: (status, index, body) in turn, the last one for ever.

    Gives its address and the targets that were asked.
    """
    asked: list[str] = []
    turn = count()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split()[1].decode())
        status, index, body = answers[min(next(turn), len(answers) - 1)]
        field = f"X-Consul-Index: {index}\r\n" if index is not None else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{field}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        writer.write(body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield ConsulAgent(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), asked


@pytest.mark.parametrize(
    "nonsense",
    [
        (500, 7, b"No cluster leader"),
        (403, 7, b"Permission denied"),
        (404, 7, b""),
        (302, 7, b""),
        (200, 7, b"<html>"),
        (200, 7, b"{}x"),
        (200, 7, b'{"Service": 1}'),
        (200, 7, b"null"),
        (200, 7, b"[" * 100_000),
        (200, 7, b"9" * 5_000),
        (200, 7, b"[null]"),
        (200, 7, entries(0)),
        (200, 7, b'[{"Service": {"Address": "a/b", "Port": 1}}]'),
        (200, 7, b'[{"Service": {"Address": 5, "Port": 1}}]'),
        (200, 7, b'[{"Service": {"Address": "a", "Port": 65536}}]'),
        (200, 7, b'[{"Service": {"Address": "a", "Port": -1}}]'),
        (200, 7, b'[{"Service": {"Address": "[", "Port": 1}}]'),
        (200, 7, '[{"Service": {"Address": "b\xfccher", "Port": 1}}]'.encode()),
        (200, 7, b'[{"Node": null, "Service": {"Address": "", "Port": 1}}]'),
        (200, None, entries(2002)),
    ],
)
async def test_nonsense_changes_nothing(nonsense: tuple[int, int | None, bytes]) -> None:
    """Errors, denials, pages and wrong shapes leave the known instances in place."""
    async with scripted((200, 7, entries(2001)), nonsense) as (agent, asked), following(agent) as discovery:
        await eventually(lambda: len(asked) >= 3)
        assert picks(discovery) == urls(2001)


async def test_starts_over_when_the_index_goes_backwards() -> None:
    """An index that goes backwards, as after a restore, makes the query begin anew."""
    answers = [(200, 9000, entries(2001)), (200, 5, entries(2002)), (200, 6, entries(2003))]
    async with scripted(*answers) as (agent, asked), following(agent) as discovery:
        await eventually(lambda: picks(discovery) == urls(2003) and len(asked) > 3)
    assert ["index=" in target for target in asked[:4]] == [False, True, False, True]


async def test_takes_the_nodes_address_where_the_service_has_none() -> None:
    """A service without an address is called at the address of its node."""
    async with scripted((200, 7, entries(2001))) as (agent, _), following(agent) as discovery:
        assert picks(discovery) == urls(2001)


MALFORMED: dict[str, tuple[Any, str]] = {
    "no object": (5, "5: entry: Input should be a valid dictionary"),
    "null": (None, "None: entry: Input should be a valid dictionary"),
    "no service": ({}, "{}: Service.Port: Field required"),
    "service null": ({"Service": None}, "{'Service': None}: Service.Port: Field required"),
    "service a text": ({"Service": "s"}, "{'Service': 's'}: Service.Port: Field required"),
    "without a port": ({"Service": {"ID": "i", "Port": 0}}, "i: Service.Port: Input should be greater than or equal"),
    "port null": ({"Service": {"ID": "i", "Port": None}}, "i: Service.Port: Input should be a valid integer"),
    "port a text": ({"Service": {"ID": "i", "Port": "80"}}, "i: Service.Port: Input should be a valid integer"),
    "port a boolean": ({"Service": {"ID": "i", "Port": True}}, "i: Service.Port: Input should be a valid integer"),
    "port a fraction": ({"Service": {"ID": "i", "Port": 80.5}}, "i: Service.Port: Input should be a valid integer"),
    "port infinite": ({"Service": {"ID": "i", "Port": math.inf}}, "i: Service.Port: Input should be a valid integer"),
    "port too large": ({"Service": {"ID": "i", "Port": 65536}}, "i: Service.Port: Input should be less than or equal"),
    "id no text": ({"Service": {"ID": 7, "Port": 0}}, "{'Service': {'ID': 7, 'Port': 0}}: Service.Port: "),
    "address no text": ({"Service": {"ID": "i", "Address": 5, "Port": 1}}, "i: Service.Address: Input should be"),
    "no address": ({"Service": {"ID": "i", "Port": 1}}, "i: Service.Address: '' is no host"),
    "addresses null": (
        {"Service": {"ID": "i", "Address": None, "Port": 1}, "Node": {"Address": None}},
        "i: Service.Address: '' is no host",
    ),
    "node null": ({"Service": {"ID": "i", "Port": 1}, "Node": None}, "i: Service.Address: '' is no host"),
    "a path": ({"Service": {"ID": "i", "Address": "a/b", "Port": 1}}, "i: Service.Address: 'a/b' is no host"),
    "a line end": ({"Service": {"ID": "i", "Address": "a\n", "Port": 1}}, "i: Service.Address: 'a\\n' is no host"),
    "not ASCII": ({"Service": {"ID": "i", "Address": "b\xfc", "Port": 1}}, "i: Service.Address: 'b\xfc' is no host"),
    "a long id": ({"Service": {"ID": "i" * 9_000, "Port": 0}}, "i" * 255 + ": Service.Port: "),
}


@pytest.mark.parametrize(("entry", "named"), MALFORMED.values(), ids=MALFORMED)
async def test_passes_over_an_entry_that_cannot_be_asked_and_names_it_once(entry: Any, named: str) -> None:
    """The other entries of the answer count, whatever one of them looks like."""
    answer = json.dumps([*json.loads(entries(2001)), entry, *json.loads(entries(2002))]).encode()
    with capture_logs() as logs:
        async with scripted((200, 7, answer)) as (agent, asked), following(agent) as discovery:
            await eventually(lambda: len(asked) >= 3)
            assert picks(discovery) == urls(2001, 2002)
    ((warned,),) = [line["instances"] for line in logs if line["log_level"] == "warning"]
    assert warned.startswith(named)


@pytest.mark.parametrize("more", [{}, {"Checks": None}, {"Checks": 5, "Node": {"Address": None, "Node": 7}}])
async def test_reads_of_an_entry_what_it_needs(more: dict[str, Any]) -> None:
    """Everything but address and port may be missing or of any kind."""
    answer = json.dumps([{"Service": {"Address": "127.0.0.1", "Port": 2001}, **more}]).encode()
    async with scripted((200, 7, answer)) as (agent, _), following(agent) as discovery:
        assert picks(discovery) == urls(2001)


async def test_stops_while_a_query_is_held(consul_agent: Agent) -> None:
    """Stopping does not wait for the end of a blocking query."""
    async with asyncio.timeout(5), following(consul_agent.address) as discovery:
        await eventually(discovery._heard.is_set)


async def test_nobody_there_is_an_outage() -> None:
    """Nothing is picked where the agent refuses connections and there is no fallback."""
    async with following(ConsulAgent(f"http://127.0.0.1:{free_ports(1)[0]}")) as discovery:
        assert discovery.pick() is None
