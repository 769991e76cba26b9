"""Several sidecars that share one address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.consul import Agent
from tests.support.platform import FREE_PORTS, STORE, both_services, metric, new_id
from tests.support.processes import Running, run_to_end, running, wait_until

CONNECTIONS = 40
"""New connections that are made so that each of two sidecars gets some: one gets none with a chance of 2 in 2^40."""


@pytest.fixture
def two_cores() -> Iterator[int]:
    """What is started meanwhile may use two cores of this machine, or the only one; gives how many."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    yield len(os.sched_getaffinity(0))
    os.sched_setaffinity(0, before)


def status(url: str, user: str, session: str) -> int:
    """Write once on a connection of its own."""
    body = {"user_id": user, "session_id": session, "message_content": "Hello"}
    return httpx.post(url + STORE, json=body, trust_env=False, timeout=30).status_code


def requests_of(sidecar: Running) -> float:
    text = httpx.get(sidecar.url("admin") + "/metrics", trust_env=False).text
    return metric(text, "sidecar_requests_total")


def test_two_on_one_port_both_get_connections_and_both_hear_of_a_deletion(tmp_path: Path) -> None:
    """The second takes the very port of the first; a deleted session is refused on every connection."""
    with both_services(tmp_path) as (sessions, memories):
        env = {
            **FREE_PORTS,
            "SIDECAR_UPSTREAM": memories.url(),
            "SIDECAR_SESSION_SERVICE": sessions.url(),
            "SIDECAR_REUSE_PORT": "true",
        }
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as first:
            env["SIDECAR_LISTEN"] = first.addresses["listen"]
            with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as second:
                both = (first, second)
                assert first.url() == second.url()
                assert first.url("admin") != second.url("admin")
                user, session = new_id("user"), new_id("session")
                assert {status(first.url(), user, session) for _ in range(CONNECTIONS)} == {200}
                assert all(requests_of(each) > 0 for each in both)
                for each in both:
                    wait_until(lambda each=each: events_connected(each), "the event stream")
                httpx.delete(f"{sessions.url()}/api/v1/sessions/{session}", trust_env=False).raise_for_status()
                statuses = lambda: {status(first.url(), user, session) for _ in range(CONNECTIONS)}  # noqa: E731
                wait_until(lambda: statuses() == {410}, "the deletion to reach both")
                assert statuses() == {410}


def test_two_on_one_port_are_registered_in_consul_one_by_one(consul_agent: Agent, tmp_path: Path) -> None:
    """The one that stops takes itself out, at once, and leaves the other in."""
    env = {
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN": "127.0.0.1:0",
        "SIDECAR_REUSE_PORT": "true",
        "SIDECAR_REGISTER_AS": "memory_service",
        "CONSUL_HTTP_ADDR": consul_agent.url.removeprefix("http://"),
    }
    with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as first:
        env["SIDECAR_LISTEN"] = first.addresses["listen"]
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as second:
            wait_until(lambda: len(consul_agent.passing("memory_service")) == 2, "both to pass their checks")
            assert second.stop() == 0
            (left,) = consul_agent.passing("memory_service")
        port = first.addresses["admin"].rpartition(":")[2]
        assert left.endswith(f"-127.0.0.1-{port}")


def events_connected(sidecar: Running) -> bool:
    text = httpx.get(sidecar.url("admin") + "/metrics", trust_env=False).text
    return metric(text, "sidecar_events_connected") == 1


def test_a_port_is_shared_only_with_those_who_share_theirs(tmp_path: Path) -> None:
    """Without the setting a second sidecar says that the address is in use, and ends."""
    with running("sidecar", "serve", role="sidecar", env=FREE_PORTS, cwd=tmp_path) as first:
        taken = {**FREE_PORTS, "SIDECAR_LISTEN": first.addresses["listen"]}
        second = run_to_end("sidecar", "serve", env=taken, cwd=tmp_path)
    assert second.process.returncode == 1
    assert any("the address is already in use" in line for line in second.stderr)


def test_a_unix_socket_cannot_be_shared(tmp_path: Path) -> None:
    env = {**FREE_PORTS, "SIDECAR_LISTEN": f"unix:{tmp_path}/s", "SIDECAR_REUSE_PORT": "true"}
    ended = run_to_end("sidecar", "check", env=env, cwd=tmp_path)
    assert ended.process.returncode == 2
    assert any("SIDECAR_REUSE_PORT" in line and "Unix socket" in line for line in ended.stderr + ended.stdout)


def test_up_starts_one_sidecar_for_each_core(tmp_path: Path, two_cores: int) -> None:
    """They share the address, have admin addresses of their own, and stop together."""
    env = {**FREE_PORTS, "SIDECAR_REUSE_PORT": "true"}
    with running("sidecar", "up", role="up", env=env, cwd=tmp_path) as up:
        children = psutil.Process(up.process.pid).children(recursive=True)
        ready = [line.split() for line in up.stdout if line.startswith("ready role=sidecar ")]
        assert len(ready) == two_cores
        assert {words[2] for words in ready} == {f"listen={up.addresses['listen']}"}
        assert len({words[3] for words in ready}) == two_cores
        assert status(up.url("listen"), new_id("user"), new_id("session")) == 200
        assert len(children) == 2 + two_cores
        up.stop()
    assert not any(child.is_running() for child in children)
