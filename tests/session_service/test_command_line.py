"""The command line as a person meets it: real processes, real exit codes."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from service_kit.consul.registration import Registration
from session_service.__main__ import main
from session_service.settings import Settings
from tests.support.consul import Agent, consul_agent
from tests.support.processes import run_to_end, running, wait_until

__all__ = ["consul_agent"]


def variables(folder: Path, **more: str) -> dict[str, str]:
    return {
        "SESSION_DATABASE_URL": f"sqlite:///{folder}/data/sessions.db",
        "SESSION_SERVICE_LISTEN": "127.0.0.1:0",
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where `.env` would be read."""
    monkeypatch.chdir(tmp_path)
    for name in ("SESSION_SERVICE_REGISTER_AS", "SESSION_SERVICE_TOKEN", "CONSUL_HTTP_ADDR", "CONSUL_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(folder: Path, *arguments: str, **more: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, arguments, env=variables(folder, **more), prog_name="session-service")


def test_serve_refuses_an_old_schema_with_the_command_to_run(folder: Path) -> None:
    """One line, exit code 2, and nothing was changed."""
    refused = run(folder, "serve")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "session-service: the database schema is not the one of this version: run session-service migrate\n"
    )
    assert run(folder, "migrate").exit_code == 0
    assert run(folder, "migrate", "--to", "r0002").exit_code == 0
    assert run(folder, "serve").exit_code == 2


@pytest.mark.parametrize(
    "url",
    ["mysql://me:top-secret@db/sessions", "mysql://me:top@secret@db/s", "postgresql://me:top-secret/@db:x/s"],
)
def test_the_password_of_a_bad_database_url_is_not_shown(folder: Path, url: str) -> None:
    """The line goes to a log; user and host are there to be recognised."""
    refused = run(folder, "migrate", SESSION_DATABASE_URL=url)
    assert refused.exit_code == 2
    assert "://me:***@db" in refused.stderr
    assert "secret" not in refused.stderr


def test_a_token_that_no_client_can_send_is_a_problem(folder: Path) -> None:
    """Every call would be answered 401 without a word about why."""
    refused = run(folder, "migrate", SESSION_SERVICE_TOKEN="hush\n")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("session-service: SESSION_SERVICE_TOKEN: (hidden): visible ASCII characters")


def test_migrate_says_what_became_of_the_rows(folder: Path) -> None:
    """What was kept, what was set aside, where and why, and how long it took; then that there is nothing to do."""
    (folder / "data").mkdir()
    with closing(sqlite3.connect(folder / "data/sessions.db")) as old:
        old.execute("CREATE TABLE sessions (session_id TEXT, user_id TEXT, created_at TEXT)")
        rows = [("a", "ann", "2025/09/01 08:00"), ("a", "ann", "0"), ("b c", "ann", "0"), ("d", "ann", "once")]
        old.executemany("INSERT INTO sessions VALUES (?, ?, ?)", rows)
        old.commit()
    first = run(folder, "migrate")
    assert first.exit_code == 0
    assert first.stdout.splitlines()[:-1] == [
        "kept: 2 rows in sessions",
        "quarantined: 1 in session_values_quarantine: unreadable_created_at",
        "quarantined: 1 in sessions_quarantine: duplicate_session_id",
        "quarantined: 1 in sessions_quarantine: invalid_session_id",
        "quarantined in all: 3",
    ]
    assert first.stdout.splitlines()[-1].startswith("done: up to r0001, up to r0002, up to r0003, up to r0004 in ")
    assert run(folder, "migrate").stdout == "nothing to do: the schema is at that revision already\n"


def test_a_migrated_service_serves_until_it_is_asked_to_stop(folder: Path) -> None:
    """Ready line, answers, exit code 0; what was stored is there the next time; a follower does not hold it up."""
    for _ in range(2):
        assert run(folder, "migrate").exit_code == 0
    for expected in (201, 200):
        with running("session_service", "serve", role="session-service", env=variables(folder), cwd=folder) as it:
            url = f"{it.url()}/api/v1"
            response = httpx.put(f"{url}/sessions/kept", json={"user_id": "ann"}, trust_env=False)
            assert response.status_code == expected
            assert httpx.get(f"{it.url()}/health", trust_env=False).json() == {"status": "ok"}
            with httpx.stream("GET", f"{url}/session-events", trust_env=False) as events:
                lines = events.iter_lines()
                assert next(lines) == ": heartbeat"
                assert it.stop(signal.SIGINT) == 0
            assert it.stderr == []


def test_all_bad_settings_are_reported_at_once(folder: Path) -> None:
    """Each names the variable, its value and what is allowed; a secret's value is not shown."""
    bad = {
        "SESSION_SERVICE_LISTEN": "nowhere",
        "SESSION_DATABASE_URL": "mysql://host/db",
        "SESSION_DATABASE_SCHEMA": "not a name",
        "SESSION_SERVICE_REGISTER_AS": "session_service",
        "SESSION_SERVICE_TOKEN": "s3cret",
    }
    refused = run(folder, "serve", **bad)
    assert refused.exit_code == 2
    assert [line.split(": ")[1] for line in refused.stderr.splitlines()] == sorted(
        bad.keys() - {"SESSION_SERVICE_TOKEN"}
    )
    for line in refused.stderr.splitlines():
        assert repr(bad[line.split(": ")[1]]) in line
    assert "s3cret" not in refused.stderr


def test_settings_are_read_from_a_file_in_the_working_directory(folder: Path) -> None:
    """`.env` counts where the environment says nothing."""
    (folder / ".env").write_text("SESSION_DATABASE_SCHEMA=not a name\n")
    assert "SESSION_DATABASE_SCHEMA" in run(folder, "serve").stderr


def test_an_unknown_revision_is_bad_usage(folder: Path) -> None:
    """One line that names it."""
    refused = run(folder, "migrate", "--to", "r9999")
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "r9999" in refused.stderr


def test_a_database_that_is_not_there_is_one_line(folder: Path) -> None:
    """Exit code 1: nothing is wrong with the command."""
    for command in ("serve", "migrate"):
        failed = run(folder, command, SESSION_DATABASE_URL=f"postgresql://nobody@/nothing?host={folder}")
        assert failed.exit_code == 1
        assert failed.stderr.count("\n") == 1
        assert failed.stderr.startswith("session-service: the database cannot be reached")


def test_the_report_lists_unusual_ids_and_orphans_and_changes_nothing(folder: Path) -> None:
    """It reads the old shape as well: that is when it is wanted."""
    uuid = "0b0f5f9e-7c1b-4a43-9a0b-6f2c58f5a1d2"
    (folder / "data").mkdir()
    with closing(sqlite3.connect(folder / "data/sessions.db")) as database:
        database.executescript(
            f"""
            CREATE TABLE sessions (id INTEGER PRIMARY KEY, session_id VARCHAR(255) UNIQUE, user_id VARCHAR(255));
            INSERT INTO sessions (session_id, user_id)
            VALUES ('{uuid}', '{uuid}'), ('cli_{uuid}', '{uuid}'), ('sess_789abc', 'ann');
            CREATE TABLE session_memories (id INTEGER PRIMARY KEY, session_id VARCHAR(64));
            INSERT INTO session_memories (session_id) VALUES ('{uuid}'), ('orphan-1'), ('orphan-1'), ('orphan-2');
            CREATE TABLE memories (id INTEGER PRIMARY KEY, session_id VARCHAR(255));
            INSERT INTO memories (session_id) VALUES ('{uuid}'), (NULL), ('orphan-2'), ('orphan-3');
            """
        )
    report = run(folder, "migrate", "--report")
    assert (report.exit_code, report.stderr) == (0, "")
    assert report.stdout.splitlines() == [
        "session id is no UUID or prefix_UUID: sess_789abc",
        "user id is no UUID: ann (session sess_789abc)",
        "1 session ids are no UUID or prefix_UUID; 1 sessions have a user id that is no UUID",
        "memory session without a session: orphan-2",
        "memory session without a session: orphan-3",
        "memory session without a session: 2 in all",
        "memory session without a session: orphan-1",
        "memory session without a session: orphan-2",
        "memory session without a session: 2 in all",
    ]
    with closing(sqlite3.connect(folder / "data/sessions.db")) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (4,)


def test_the_report_lists_what_lies_in_quarantine(folder: Path) -> None:
    """With the reason that put it there."""
    (folder / "data").mkdir()
    with closing(sqlite3.connect(folder / "data/sessions.db")) as database:
        database.executescript(
            """
            CREATE TABLE sessions (id INTEGER PRIMARY KEY, session_id VARCHAR(255) UNIQUE, user_id VARCHAR(255));
            INSERT INTO sessions (session_id, user_id) VALUES ('no good', 'ann');
            """
        )
    assert run(folder, "migrate").exit_code == 0
    assert run(folder, "migrate", "--report").stdout.splitlines()[-2:] == [
        "quarantined: no good invalid_session_id",
        "quarantined: 1 in all",
    ]


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("migrate", "-h")])
def test_help_is_everywhere(folder: Path, arguments: tuple[str, ...]) -> None:
    """It goes to standard output with exit code 0."""
    helped = run(folder, *arguments)
    assert helped.exit_code == 0
    assert helped.stdout.startswith("Usage: session-service")


def test_a_registration_needs_a_place_that_others_can_reach() -> None:
    """A free port or a socket of this machine is no address for others; the advertised one counts."""
    known = {"CONSUL_HTTP_ADDR": "127.0.0.1:8500", "SESSION_SERVICE_REGISTER_AS": "session_service"}
    for listen in ("127.0.0.1:0", "unix:/run/sessions.sock", "0.0.0.0:8205"):
        with pytest.raises(ValueError, match="SESSION_SERVICE_ADVERTISE"):
            Settings(SESSION_SERVICE_LISTEN=listen, **known)
        settings = Settings(SESSION_SERVICE_LISTEN=listen, SESSION_SERVICE_ADVERTISE="10.0.0.1:8205", **known)
        assert isinstance(settings.registration(), Registration)
    assert Settings(CONSUL_HTTP_ADDR="127.0.0.1:8500").registration() is None


def test_it_is_in_consul_while_it_serves_and_only_then(folder: Path, consul_agent: Agent) -> None:
    """Registered once it answers, passing by its own health, and gone after the stop."""
    assert run(folder, "migrate").exit_code == 0
    port = httpx.URL(consul_agent.url).port
    assert port is not None
    env = variables(
        folder,
        CONSUL_HTTP_ADDR=f"127.0.0.1:{port}",
        SESSION_SERVICE_REGISTER_AS="session_service",
        SESSION_SERVICE_LISTEN=f"unix:{folder}/listen.sock",
        SESSION_SERVICE_ADVERTISE="127.0.0.1:8205",
    )
    with running("session_service", "serve", role="session-service", env=env, cwd=folder) as it:
        wait_until(consul_agent.services, "the registration")
        (registered,) = consul_agent.services().values()
        assert (registered["Service"], registered["Address"], registered["Port"]) == (
            "session_service",
            "127.0.0.1",
            8205,
        )
        assert it.stop() == 0
    assert consul_agent.services() == {}


def test_a_misspelt_variable_is_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    """The variable by which clients find the service is none of them."""
    env = {
        "SESSION_SERVICE_LISTN": "127.0.0.1:1",
        "SESSION_SERVICE_URL": "http://127.0.0.1:8205",
        "SESSION_DATABASE_URL": f"sqlite:///{tmp_path}/sessions.db",
    }
    ended = run_to_end("session_service", "serve", env=env, cwd=tmp_path)
    assert ended.stderr[0] == (
        "session-service: warning: SESSION_SERVICE_LISTN is not a setting; did you mean SESSION_SERVICE_LISTEN?"
    )
    assert not any("SESSION_SERVICE_URL" in line for line in ended.stderr)
