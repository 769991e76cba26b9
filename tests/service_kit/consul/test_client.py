"""The client reaches a real agent however Consul's tools can: token, TLS, client certificate, Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path

import pytest
from consul import ConsulException

from service_kit.consul.client import AsyncConsul, ConsulUnreachable
from service_kit.consul.variables import ConsulAgent
from tests.support.consul import Agent, find_consul
from tests.support.eventually import eventually
from tests.support.ports import free_ports

SECRET = "4e1ed0b6-5c33-4b0e-9f0c-2b5a3d4f6a7b"


async def node_names(agent: ConsulAgent) -> list[str]:
    """Ask the agent something that every agent answers."""
    client = AsyncConsul(agent, timeout=5)
    try:
        return [node["Node"] for node in (await client.catalog.nodes())[1]]
    finally:
        await client.close()


async def tells_all(agent: ConsulAgent) -> bool:
    """Whether the agent, which enters its own catalogue and learns its tokens a moment after it leads, names itself."""

    async def names_itself() -> bool:
        with contextlib.suppress(ConsulException):
            return await node_names(agent) == ["test"]
        return False

    return await eventually(names_itself)


@pytest.fixture
def certificates(tmp_path: Path, consul_agent: Agent) -> Path:
    """An authority, a server's certificate and a client's, made by Consul itself."""
    program = find_consul()
    for arguments in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-client"]):
        subprocess.run([program, "tls", *arguments], cwd=tmp_path, check=True, capture_output=True)
    consul_agent.kill()
    consul_agent.configuration = f"""
        ca_file = "{tmp_path}/consul-agent-ca.pem"
        cert_file = "{tmp_path}/dc1-server-consul-0.pem"
        key_file = "{tmp_path}/dc1-server-consul-0-key.pem"
        verify_incoming_https = true
    """
    consul_agent.start()
    return tmp_path


async def test_speaks_tls_with_a_client_certificate_and_a_server_name(consul_agent: Agent, certificates: Path) -> None:
    """CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY and CONSUL_TLS_SERVER_NAME all take effect."""
    agent = ConsulAgent(
        f"https://{consul_agent.tls_address}",
        ca_file=certificates / "consul-agent-ca.pem",
        client_cert=certificates / "dc1-client-consul-0.pem",
        client_key=certificates / "dc1-client-consul-0-key.pem",
        server_name="server.dc1.consul",
    )
    assert await tells_all(agent)


async def test_distrusts_a_server_of_another_name(consul_agent: Agent, certificates: Path) -> None:
    """A valid certificate of another name is refused."""
    agent = ConsulAgent(
        f"https://{consul_agent.tls_address}",
        ca_file=certificates / "consul-agent-ca.pem",
        client_cert=certificates / "dc1-client-consul-0.pem",
        client_key=certificates / "dc1-client-consul-0-key.pem",
        server_name="elsewhere.example",
    )
    with pytest.raises(ConsulUnreachable, match="elsewhere"):
        await node_names(agent)


async def test_verification_can_be_switched_off(consul_agent: Agent, certificates: Path) -> None:
    """CONSUL_HTTP_SSL_VERIFY=false accepts a certificate of an unknown authority."""
    agent = ConsulAgent(
        f"https://{consul_agent.tls_address}",
        verify=False,
        client_cert=certificates / "dc1-client-consul-0.pem",
        client_key=certificates / "dc1-client-consul-0-key.pem",
    )
    assert await tells_all(agent)


async def test_sends_its_own_token_and_not_the_environments(
    consul_agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token of the settings is the one that counts."""
    consul_agent.kill()
    consul_agent.configuration = f"""
        acl {{ enabled = true default_policy = "deny" tokens {{ master = "{SECRET}" }} }}
    """
    consul_agent.start()
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "00000000-0000-0000-0000-000000000001")

    assert await tells_all(ConsulAgent(consul_agent.url, token=SECRET))
    assert await node_names(ConsulAgent(consul_agent.url)) == []


async def test_reaches_an_agent_through_a_unix_socket(consul_agent: Agent, tmp_path: Path) -> None:
    """Agents that listen on no port are served too."""
    consul_agent.kill()
    path = tmp_path / "consul.sock"
    consul_agent.configuration = f'addresses {{ http = "127.0.0.1 unix://{path}" }}'
    consul_agent.start()
    assert await tells_all(ConsulAgent("http://localhost:80", socket=str(path)))


async def test_says_that_nobody_answers() -> None:
    """A refused connection is an exception of Consul's family, with a reason in it."""
    with pytest.raises(ConsulUnreachable, match=r"\w"):
        await node_names(ConsulAgent(f"http://127.0.0.1:{free_ports(1)[0]}"))


async def test_an_answer_that_trickles_in_ends_at_the_timeout() -> None:
    """The time-out covers a whole call: an agent that sends a byte now and then holds no stop up."""

    left = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        left.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server, asyncio.timeout(20):
        port = server.sockets[0].getsockname()[1]
        client = AsyncConsul(ConsulAgent(f"http://127.0.0.1:{port}"), timeout=0.1)
        with pytest.raises(ConsulUnreachable, match=r"no answer within 0\.1 s"):
            await client.agent.service.deregister("s-1")
        await client.close()
        await left.wait()
