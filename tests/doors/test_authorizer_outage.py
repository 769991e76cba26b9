"""The authoriser down, restarting or silent behind each proxy of deploy/: writes are refused, reads go through."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.cases import JSON, STORE
from tests.support.authorizing import Answer, World, ask, authorizing, sidecar_env
from tests.support.fronts import FRONTS, Front, fronting
from tests.support.ports import free_ports
from tests.support.processes import running, wait_until

# Decided by the head alone, so that nginx and Caddy admit it too.
SUMMARIZE = "/api/v1/memories/session/back/summarize?user_id=ann"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with authorizing(tmp_path_factory.mktemp("outage")) as each:
        yield each


def write(front: Front, address: str) -> Answer:
    """A write of one session that the proxy can have decided."""
    if front.sees_body:
        return ask(address, "POST", STORE, JSON, b'{"user_id": "ann", "session_id": "back"}')
    return ask(address, "POST", SUMMARIZE)


def check_outage(front: Front, address: str, world: World) -> None:
    """A write is refused and a read answered."""
    forwarded = len(world.writes)
    refused = write(front, address)
    assert refused.status >= 500
    assert len(world.writes) == forwarded
    assert ask(address, "GET", "/api/v1/memories/session/back/context?user_id=ann").status == 200


@pytest.mark.parametrize("front", FRONTS, ids=str)
def test_writes_are_refused_and_reads_answered_while_the_authoriser_restarts(
    world: World, front: Front, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    authz = f"127.0.0.1:{port}"
    env = sidecar_env(f"http://{world.memories_address}", world.sessions, SIDECAR_AUTHZ=authz)
    with fronting(front, memories=world.memories_address, authz=authz) as address:
        check_outage(front, address, world)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path):
            wait_until(lambda: write(front, address).status == 200, "a write to be admitted again")
        check_outage(front, address, world)


@pytest.mark.long
@pytest.mark.parametrize("front", FRONTS, ids=str)
def test_writes_are_refused_and_reads_answered_while_the_authoriser_is_silent(world: World, front: Front) -> None:
    """It accepts connections and never answers; each proxy gives up after its own time, Traefik after 30 s."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        authz = f"127.0.0.1:{silent.getsockname()[1]}"
        with fronting(front, memories=world.memories_address, authz=authz) as address:
            check_outage(front, address, world)
