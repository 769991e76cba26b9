"""`session-sidecar backfill` against the real session service: everything ensured once, whatever interrupts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner, Result

from sidecar.tools.backfill.command import backfill
from tests.support.migrated import migrate
from tests.support.ports import free_ports
from tests.support.processes import Running, running, wait_until
from tests.support.servers import served

MOST_MEMORY = 150 << 20


@dataclass
class Service:
    """A running session service and its database."""

    url: str
    database: Path

    def sessions(self) -> dict[str, str]:
        """Every session and its owner."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return dict(connection.execute("SELECT session_id, user_id FROM sessions"))


@contextlib.contextmanager
def session_service(folder: Path) -> Iterator[tuple[Service, Running]]:
    """A session service with a fresh database."""
    environment = {
        "SESSION_SERVICE_LISTEN": "127.0.0.1:0",
        "SESSION_DATABASE_URL": f"sqlite:///{folder}/sessions.db",
    }
    migrate("session_service", environment["SESSION_DATABASE_URL"])
    with running("session_service", "serve", role="session-service", env=environment, cwd=folder) as process:
        yield Service(process.url(), folder / "sessions.db"), process


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One session service for all tests that only add to it, with a session of bob's and a deleted one."""
    with (
        session_service(tmp_path_factory.mktemp("service")) as (service, _),
        httpx.Client(base_url=service.url) as client,
    ):
        client.put("/api/v1/sessions/bobs", json={"user_id": "bob"}).raise_for_status()
        client.put("/api/v1/sessions/deleted", json={"user_id": "alice"}).raise_for_status()
        client.delete("/api/v1/sessions/deleted").raise_for_status()
        yield service


@pytest.fixture
def command(shared: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command inside this process, in a folder of its own, and give what came of it."""
    monkeypatch.setenv("SIDECAR_SESSION_SERVICE", shared.url)
    monkeypatch.setattr("sidecar.tools.backfill.command.configure_logging", lambda *_: None)  # outlives the test
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(backfill, arguments, input=stdin)

    return run


def lines(*pairs: tuple[str, str]) -> bytes:
    """Pairs of user and session as JSON lines."""
    return b"".join(json.dumps({"user_id": user, "session_id": session}).encode() + b"\n" for user, session in pairs)


def table(result: Result) -> dict[str, int]:
    """The table at the end."""
    rows = [line.strip("│ ").split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    return {name.strip(): int(count.replace(",", "")) for name, count in rows}


def files() -> list[str]:
    """What lies in the folder that the command was run in."""
    return sorted(path.name for path in Path().iterdir())


def test_creates_what_is_missing_and_says_what_it_found(command: Any, shared: Service) -> None:
    """Created, found, conflicts, gone and invalid pairs are counted, and those that failed are in a file."""
    pairs = lines(("alice", "t1-new"), ("alice", "t1-new"), ("alice", "bobs"), ("alice", "deleted"), ("al ice", "t1-x"))
    Path("pairs.jsonl").write_bytes(pairs + b"{}\n")
    result = command("pairs.jsonl")
    assert table(result) == {"created": 1, "already there": 1, "conflicts": 1, "gone": 1, "invalid": 2, "all": 6}
    assert shared.sessions()["t1-new"] == "alice"
    assert shared.sessions()["bobs"] == "bob"
    failures = [json.loads(line) for line in Path("pairs.jsonl.failures.jsonl").read_text().splitlines()]
    assert [(failure["line"], failure["result"]) for failure in failures] == [
        (3, "conflict"),
        (4, "gone"),
        (5, "invalid"),
        (6, "invalid"),
    ]
    assert "pairs.jsonl, line 5: user_id 'al ice' is no id: 1 to 255 of A-Z" in result.stderr
    assert "4 pairs could not be ensured; they are in pairs.jsonl.failures.jsonl" in result.stderr
    assert result.exit_code == 1
    assert files() == ["pairs.jsonl", "pairs.jsonl.failures.jsonl"]


def test_running_twice_changes_nothing(command: Any, shared: Service) -> None:
    """A second run over the same file finds each session, and leaves no file behind."""
    Path("pairs.csv").write_text("user_id,session_id\nalice,t2-a\nalice,t2-b\n")
    assert table(command("pairs.csv"))["created"] == 2
    result = command("pairs.csv")
    assert table(result) == {"created": 0, "already there": 2, "conflicts": 0, "gone": 0, "invalid": 0, "all": 2}
    assert result.exit_code == 0
    assert files() == ["pairs.csv"]


def test_a_trial_creates_nothing(command: Any, shared: Service) -> None:
    """`--dry-run` says what a run would create, and creates nothing."""
    before = shared.sessions()
    Path("pairs.jsonl").write_bytes(lines(("alice", "t3-new"), ("bob", "bobs"), ("alice", "bobs"), ("bob", "deleted")))
    result = command("--dry-run", "pairs.jsonl")
    expected = {"would be created": 1, "already there": 1, "conflicts": 1, "gone": 1, "invalid": 0, "all": 4}
    assert table(result) == expected
    assert shared.sessions() == before
    assert files() == ["pairs.jsonl", "pairs.jsonl.dry-run.failures.jsonl"]


def test_a_trial_counts_claims_within_its_input_as_the_real_run_does(command: Any, shared: Service) -> None:
    """In a dry run the first user of a missing session owns it, in later batches too."""
    pairs = [("alice", "t9-a"), ("alice", "t9-a"), ("bob", "t9-a"), ("bob", "t9-b")]
    filler = [("alice", f"t9-{number}") for number in range(1_000)]
    Path("pairs.jsonl").write_bytes(lines(*pairs, *filler, ("carol", "t9-b"), ("bob", "t9-b"), ("bob", "bobs")))
    trial = table(command("--dry-run", "pairs.jsonl"))
    real = table(command("pairs.jsonl"))
    assert trial == {"would be created": 1_002, **{name: count for name, count in real.items() if name != "created"}}
    assert (real["created"], real["already there"], real["conflicts"]) == (1_002, 3, 2)


def test_reads_standard_input(command: Any, shared: Service) -> None:
    """`-` reads standard input."""
    assert command("-", stdin=lines(("alice", "t4"))).exit_code == 0
    assert shared.sessions()["t4"] == "alice"


def test_reads_a_database(command: Any, shared: Service) -> None:
    """`--from-sql` reads more rows than fit into one call."""
    with contextlib.closing(sqlite3.connect("old.db")) as connection, connection:
        connection.execute("CREATE TABLE messages (user_id TEXT, session_id TEXT)")
        rows = [("alice", f"t5-{number}") for number in range(1_500)]
        connection.executemany("INSERT INTO messages VALUES (?, ?)", rows)
    result = command("--from-sql", "sqlite:///old.db", "--query", "SELECT DISTINCT user_id, session_id FROM messages")
    assert table(result)["created"] == 1_500
    assert {f"t5-{number}" for number in range(1_500)} <= set(shared.sessions())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "one of FILE, - and --from-sql URL is needed"),
        (["pairs", "--from-sql", "sqlite:///x.db", "--query", "SELECT 1"], "only one is allowed"),
        (["--from-sql", "sqlite:///x.db"], "--from-sql and --query go together"),
        (["pairs", "--query", "SELECT 1"], "--from-sql and --query go together"),
        (["missing.jsonl"], "missing.jsonl: No such file or directory; a file of JSON lines or CSV is allowed"),
        (["."], "Is a directory"),
        (["--from-sql", "nonsense", "--query", "SELECT 1"], "sqlite:///PATH or postgresql://… is allowed"),
        (["wrong.csv"], "wrong.csv, line 1: the first line of a CSV file names its columns"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(command: Any, arguments: list[str], named: str) -> None:
    """Bad usage gives one line and exit code 2, and nothing is read."""
    Path("wrong.csv").write_text("a,b\n")
    result = command(*arguments)
    assert result.exit_code == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bad_setting_is_bad_usage(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad setting is reported before anything is read."""
    monkeypatch.setenv("SIDECAR_SESSION_SERVICE", "nowhere")
    result = command("-", stdin=lines(("alice", "t6")))
    assert result.exit_code == 2
    assert "SIDECAR_SESSION_SERVICE" in result.stderr


def test_a_service_that_is_away_is_one_line_and_exit_code_1(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session service that is away gives one line that says how to go on, and exit code 1."""
    monkeypatch.setenv("SIDECAR_SESSION_SERVICE", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setattr("stamina.AsyncRetryingCaller.__call__", lambda self, on, call, *args: call(*args))
    Path("pairs.jsonl").write_bytes(lines(("alice", "t7")))
    result = command("pairs.jsonl")
    assert result.exit_code == 1
    assert "does not answer" in result.stderr
    assert "the same command goes on where this one stopped" in result.stderr


class TestInterrupted:
    """Killed half way and started again."""

    @staticmethod
    def start(folder: Path, url: str) -> subprocess.Popen[bytes]:
        """The command as a process of its own."""
        environment = {**os.environ, "SIDECAR_SESSION_SERVICE": url}
        arguments = [sys.executable, "-m", "sidecar", "backfill", "pairs.jsonl"]
        output = subprocess.DEVNULL
        return subprocess.Popen(arguments, cwd=folder, env=environment, stdout=output, stderr=output)

    @staticmethod
    def pairs(folder: Path, count: int) -> dict[str, str]:
        """Write so many pairs into a file, and give them."""
        pairs = {f"session-{number:06}": f"user-{number % 97}" for number in range(count)}
        (folder / "pairs.jsonl").write_bytes(lines(*((user, session) for session, user in pairs.items())))
        return pairs

    @staticmethod
    def reached(folder: Path) -> int:
        """The line up to which everything was acknowledged."""
        try:
            record = json.loads((folder / "pairs.jsonl.backfill-progress").read_bytes())
            return int(record["done"]["position"]["line"])
        except FileNotFoundError:
            return 0

    @staticmethod
    def peak_memory(process: subprocess.Popen[bytes]) -> int:
        """Wait for a process that must succeed, and give the most memory it had, in bytes.

        Asked of the process while it lives: what the system says afterwards includes the parent's memory at the fork.
        """
        peak = 0
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                peak = max(peak, psutil.Process(process.pid).memory_info().rss)
            time.sleep(0.02)
        assert process.returncode == 0
        return peak

    @pytest.mark.timeout(300)
    def test_goes_on_where_it_was_killed(self, tmp_path: Path) -> None:
        """After kill -9 a second run ensures the rest, and exactly the right sessions exist."""
        pairs = self.pairs(tmp_path, 5_000)
        with session_service(tmp_path) as (service, _), served(Barrier(service.url, 2_000)) as url:
            killed = self.start(tmp_path, url)
            wait_until(lambda: self.reached(tmp_path) == 2_000, "two batches to be acknowledged", 120)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            assert len(service.sessions()) < 5_000
            # It is the same service by another way, so the record is told so.
            record = tmp_path / "pairs.jsonl.backfill-progress"
            record.write_bytes(record.read_bytes().replace(url.encode(), service.url.encode()))
            again = self.start(tmp_path, service.url)
            assert self.peak_memory(again) < MOST_MEMORY
            assert service.sessions() == pairs
            assert not record.exists()

    @pytest.mark.parametrize("count", [0, 1_000])
    def test_ctrl_c_ends_it_while_it_waits_for_standard_input(
        self, shared: Service, tmp_path: Path, count: int
    ) -> None:
        """Before the first line, and after a batch was acknowledged."""
        pairs = [(f"waiting-{number}", f"waiting-{number}") for number in range(count)]
        environment = {**os.environ, "SIDECAR_SESSION_SERVICE": shared.url}
        arguments = [sys.executable, "-m", "sidecar", "backfill", "-"]
        pipe = subprocess.PIPE
        with subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdin=pipe, stderr=pipe) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            try:
                process.stdin.write(lines(*pairs))
                process.stdin.flush()
                wait_until(lambda: count == 0 or "waiting-999" in shared.sessions(), "the batch")
                wait_until(lambda: psutil.Process(process.pid).num_threads() > 1, "the thread that reads")
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 1
                assert process.stderr.read().startswith(b"session-sidecar: interrupted\n")
            finally:
                process.kill()

    @pytest.mark.long
    @pytest.mark.timeout(1200)
    def test_a_hundred_thousand_pairs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A run over a hundred thousand pairs, killed at any place, is completed by the next one."""
        pairs = self.pairs(tmp_path, 100_000)
        with session_service(tmp_path) as (service, _):
            killed = self.start(tmp_path, service.url)
            wait_until(lambda: self.reached(tmp_path) >= 50_000, "half of it to be acknowledged", 600)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            reached = self.reached(tmp_path)
            memory = self.peak_memory(self.start(tmp_path, service.url))
            assert memory < MOST_MEMORY
            assert service.sessions() == pairs
        with capsys.disabled():
            print(f"\nbackfill: 100,000 pairs, killed at {reached:,}, peak memory {memory / 2**20:.0f} MiB")


class Barrier:
    """Passes bulk calls on to the real service, but for those about the sessions from a number on: they hang."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._number = number

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        first = json.loads(body)["sessions"][0]["session_id"]
        if int(first.rpartition("-")[2]) >= self._number:
            await receive()  # the client going away
            return
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(self._url + scope["path"], content=body, timeout=60)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": []})
        await send({"type": "http.response.body", "body": answer.content})
