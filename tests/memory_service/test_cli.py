"""The command line: exit codes, words for people, and a process that starts and stops in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from memory_service.__main__ import main
from service_kit.process.address import Tcp, bind, bound_address
from tests.support.memories import environment, memory_migrations
from tests.support.old_memories import in_database, make_old_table
from tests.support.postgres import fresh_database
from tests.support.processes import running, wait_until


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with fresh_database(request, tmp_path / "memory.db") as made:
        yield made


def run(*arguments: str, **env: str) -> Result:
    """Run a command in this process, with these variables and none of the machine's."""
    names = ("MEMORY_SERVICE_LISTEN", "MEMORY_SERVICE_REGISTER_AS", "MEMORY_DATABASE_SCHEMA", "CONSUL_HTTP_ADDR")
    return CliRunner().invoke(main, arguments, env={**dict.fromkeys(names), **env})


def test_migrate_brings_the_schema_up_and_down(url: str) -> None:
    """Up by default, to a revision if told, as often as wanted."""
    for _ in range(2):
        assert run("migrate", MEMORY_DATABASE_URL=url).exit_code == 0
        assert asyncio.run(memory_migrations(url).is_current())
    for _ in range(2):
        assert run("migrate", "--to", "base", MEMORY_DATABASE_URL=url).exit_code == 0
    assert not asyncio.run(memory_migrations(url).is_current())


def test_serve_refuses_an_outdated_schema(url: str) -> None:
    """It says which command to run."""
    result = run("serve", **environment(url))
    assert result.exit_code == 2
    assert result.stderr == (
        "memory-service: the database schema is not the one of this version: run memory-service migrate\n"
    )


def test_report_tells_of_unusual_ids(url: str) -> None:
    """In the old shape and in the new: ids in use, and after the move what was set aside."""
    in_database(url, make_old_table)
    before = run("migrate", "--report", MEMORY_DATABASE_URL=url)
    assert before.exit_code == 0
    assert "session_id is no UUID or prefix_UUID: a/b (rows in session_memories: 1)\n" in before.stdout
    assert "session_id: 14 in use are no UUID or prefix_UUID\n" in before.stdout
    assert "user_id: 0 in use are no UUID\n" in before.stdout
    assert run("migrate", MEMORY_DATABASE_URL=url).exit_code == 0
    after = run("migrate", "--report", MEMORY_DATABASE_URL=url)
    assert after.exit_code == 0
    assert "session_id is no UUID or prefix_UUID: session_1 (rows in memories: 1)\n" in after.stdout
    assert "session_id: 7 in use are no UUID or prefix_UUID\n" in after.stdout
    assert "quarantined because user_id is missing: 1\n" in after.stdout
    assert after.stdout.endswith("quarantined: 7 in all\n")


def test_report_of_an_empty_database_is_empty(url: str) -> None:
    """Nothing there is no error."""
    result = run("migrate", "--report", MEMORY_DATABASE_URL=url)
    assert (result.exit_code, result.stdout) == (
        0,
        "session_id: 0 in use are no UUID or prefix_UUID\nuser_id: 0 in use are no UUID\n",
    )


def test_bad_settings_are_reported_at_once() -> None:
    """Every variable with its value and what is allowed, exit 2."""
    result = run(
        "serve",
        MEMORY_DATABASE_URL="mysql://somewhere",
        MEMORY_DATABASE_SCHEMA="a b",
        MEMORY_SERVICE_LISTEN="everywhere",
        MEMORY_SERVICE_REGISTER_AS="memory",
    )
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    names = [line.removeprefix("memory-service: ").partition(":")[0] for line in lines]
    assert names == [
        "MEMORY_DATABASE_SCHEMA",
        "MEMORY_DATABASE_URL",
        "MEMORY_SERVICE_LISTEN",
        "MEMORY_SERVICE_REGISTER_AS",
    ]


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_database_out_of_reach_is_one_line(command: str) -> None:
    """No traceback for what a person can mend."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        result = run(command, MEMORY_DATABASE_URL=f"postgresql://127.0.0.1:{nobody.getsockname()[1]}/x")
    assert result.exit_code == 1
    assert result.stderr.startswith("memory-service: the database cannot be reached: ")
    assert result.stderr.count("\n") == 1


def test_an_unknown_revision_is_one_line(tmp_path: Path) -> None:
    """Bad usage is exit 2."""
    result = run("migrate", "--to", "nowhere", MEMORY_DATABASE_URL=f"sqlite:///{tmp_path}/memory.db")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_a_taken_address_is_one_line(tmp_path: Path) -> None:
    """Who cannot listen says so and fails."""
    url = f"sqlite:///{tmp_path}/memory.db"
    asyncio.run(memory_migrations(url).move())
    with bind(Tcp("127.0.0.1", 0)) as taken:
        address = str(bound_address(taken))
        result = run("serve", MEMORY_DATABASE_URL=url, MEMORY_SERVICE_LISTEN=address)
    assert result.exit_code == 1
    assert result.stderr == f"memory-service: cannot listen on {address}: the address is already in use\n"


def test_a_process_serves_and_stops_in_order(tmp_path: Path) -> None:
    """Ready means answering; SIGTERM gives open event streams a proper end, and the exit code is 0."""
    url = f"sqlite:///{tmp_path}/memory.db"
    asyncio.run(memory_migrations(url).move())
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    with (
        running("memory_service", "serve", role="memory-service", env=environment(url), cwd=tmp_path) as process,
        httpx.Client(base_url=process.url(), timeout=30, trust_env=False) as http,
    ):
        assert http.get("/health").json() == {"status": "ok"}
        assert http.get("/docs").status_code == 200
        opened = http.post("/mcp", json=opening, headers={"accept": "application/json, text/event-stream"})
        headers = {"accept": "text/event-stream", "mcp-session-id": opened.headers["mcp-session-id"]}
        with http.stream("GET", "/mcp", headers=headers) as stream:
            assert stream.status_code == 200
            process.process.send_signal(signal.SIGTERM)
            assert stream.read() == b""
        wait_until(lambda: process.process.poll() is not None, "the process to end")
        assert process.process.returncode == 0
        assert process.stderr == []
