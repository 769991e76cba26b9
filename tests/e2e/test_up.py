"""`session-sidecar up` as a person uses it: started, stopped, started again."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.platform import FREE_PORTS, Platform, new_id
from tests.support.processes import run_to_end, running, wait_until


@contextlib.contextmanager
def up_with_client(directory: Path) -> Iterator[Platform]:
    """All three processes, and a client that knows no earlier ones."""
    with (
        running("sidecar", "up", role="up", env=FREE_PORTS, cwd=directory) as up,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        yield Platform(up, http)


def test_a_signal_leaves_no_process_and_a_second_up_finds_everything_still_there(tmp_path: Path) -> None:
    """Ctrl-C, then SIGTERM: exit code 0, no child is left, no database is locked, and nothing is lost."""
    user, session, deleted = new_id("user"), new_id("session"), new_id("deleted")
    with up_with_client(tmp_path) as platform:
        assert platform.store(user, session, "before").status_code == 200
        platform.create(user, deleted)
        platform.http.delete(f"{platform.sessions}/api/v1/sessions/{deleted}")
        children = psutil.Process(platform.up.process.pid).children(recursive=True)
        assert len(children) == 3
        assert platform.up.stop(signal.SIGINT) == 0
        assert not any(child.is_running() for child in children)
    with up_with_client(tmp_path) as platform:
        assert platform.store(user, session, "after").status_code == 200
        assert platform.stored(user, session) == ["before", "after"]
        assert platform.store(user, deleted).status_code == 410
        assert platform.up.stop(signal.SIGTERM) == 0


@pytest.mark.usefixtures("heeding_hangups")
def test_a_closed_terminal_leaves_no_process(tmp_path: Path) -> None:
    """SIGHUP comes to `up` alone, for each of its processes has a session of its own, and it may come twice."""
    with up_with_client(tmp_path) as platform:
        children = psutil.Process(platform.up.process.pid).children()
        platform.up.process.send_signal(signal.SIGHUP)
        assert platform.up.stop(signal.SIGHUP) == 0
        assert not any(child.is_running() for child in children)


def test_an_empty_variable_leaves_what_up_derives(tmp_path: Path) -> None:
    """It counts as unset, as everywhere: container files pass variables on that may be empty."""
    derived = ("SESSION_DATABASE_URL", "MEMORY_DATABASE_URL", "SIDECAR_UPSTREAM", "SIDECAR_SESSION_SERVICE")
    env = {**FREE_PORTS, **dict.fromkeys((*derived, "SESSION_SERVICE_URL", "SIDECAR_OUTBOX"), "")}
    with (
        running("sidecar", "up", "--data-dir", "kept", role="up", env=env, cwd=tmp_path) as up,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        assert Platform(up, http).store(new_id("user"), new_id("session")).status_code == 200
    assert {path.name for path in (tmp_path / "kept").glob("*.db")} == {"sessions.db", "memories.db"}
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0, "conversations may be read by other users"


@pytest.mark.parametrize("platform", ["up"], indirect=True)
def test_it_prints_where_everything_is_and_one_line_to_try(platform: Platform) -> None:
    """The addresses are the ones really bound."""
    # The summary follows the line that says `ready`, at which the platform is taken into use.
    wait_until(lambda: any("Ctrl-C" in line for line in platform.up.stdout), "the end of the summary")
    printed = "\n".join(platform.up.stdout)
    assert re.search(rf"dashboard +{re.escape(platform.admin)}\b", printed)
    assert platform.http.get(platform.admin).text.startswith("<!doctype html>")
    urls = {platform.sidecar, platform.memory, platform.sessions, platform.admin}
    urls |= {f"{platform.memory}/docs", f"{platform.sessions}/docs", f"{platform.admin}/metrics"}
    assert urls <= set(re.findall(r"http://\S+", printed))
    assert f"curl {platform.sidecar}/api/v1/memories/session/store" in printed


@pytest.mark.parametrize(
    "variable", ["SESSION_SERVICE_LISTEN", pytest.param("SIDECAR_ADMIN", marks=pytest.mark.variant)]
)
def test_a_port_already_taken_is_one_clear_line(tmp_path: Path, variable: str) -> None:
    """No traceback, the address is named, nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        up = run_to_end("sidecar", "up", env=FREE_PORTS | {variable: address}, cwd=tmp_path)
    assert up.process.returncode == 1
    assert [line for line in up.stderr if address in line and "already in use" in line], up.stderr
    assert len([line for line in up.stderr if "use" in line]) == 1
    assert not any("Traceback" in line for line in up.stderr)


def test_the_working_directory_stands_in_for_no_package(tmp_path: Path) -> None:
    """A file there that has the name of a service is not run in its place."""
    (tmp_path / "memory_service.py").write_text("print('ready role=memory-service listen=127.0.0.1:1')")
    with up_with_client(tmp_path) as platform:
        assert platform.store(new_id("user"), new_id("session")).status_code == 200


def test_when_one_process_dies_the_others_are_stopped(tmp_path: Path) -> None:
    """It says which one it was and ends with 1. Data is where --data-dir says, and nowhere else."""
    with running("sidecar", "up", "--data-dir", "elsewhere", role="up", env=FREE_PORTS, cwd=tmp_path) as up:
        children = psutil.Process(up.process.pid).children()
        children[0].kill()
        assert up.wait() == 1
        assert not any(child.is_running() for child in children)
    assert any("ended by itself" in line for line in up.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere"}
    assert {"sessions.db", "memories.db"} <= {path.name for path in (tmp_path / "elsewhere").iterdir()}
