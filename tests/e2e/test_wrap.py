"""`session-sidecar wrap`: an unchanged application under the guard, in one process that really runs."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from sidecar.testing import SessionServiceApp, serve_session_service
from tests.doors.cases import CASES, MAX_BODY, OUTAGE_CASES, STORE, Case
from tests.support import wrapped_app
from tests.support.doors import check
from tests.support.ports import free_ports
from tests.support.processes import Running, run_to_end, running, wait_until
from tests.support.ways import THROUGH_WRAP_BY_DEFAULT
from tests.support.wire import ask, get, raw_client

E2E = Path(__file__).parent
THROUGH_WRAP = re.compile(r"\b(way|WAYS|COMMANDS|platform: Platform|wrapped_memories|memory_service\.asgi:app)\b")
NOT_FOR_WRAP = {
    "test_consul.py": "finding the session service and registering come before a door is chosen",
    "test_dashboard.py": "the admin address in a browser: the page is the same; test_metrics_truth.py has its figures",
    "test_data_types.py": "the two services and their databases, without a sidecar",
    "test_decisions.py": "the table of decisions runs through `wrap` in this file",
    "test_faults.py": "the connections to the upstream are cut, delayed and frozen",
    "test_identical.py": "what the upstream sees of a forwarded request, byte for byte: `wrap` sends none",
    "test_imports.py": "what `serve` does not import; a hosted application may need it",
    "test_pause.py": "the event stream after a pause of the process: no door takes part",
    "test_reuse_port.py": "sharing the listening socket, before a door is chosen",
    "test_settings.py": "errors in the environment; what `wrap` reads otherwise is in this file",
    "test_up.py": "`up` starts `serve`",
    "test_wrap.py": "this file",
}
"""The end-to-end tests that do not run through `wrap`, and why; all others do.

Of those that do, the tests of an upstream that is down, late, broken off or left by its client run with `serve` alone,
since without an upstream there is no such connection.
"""
ANN = {"user_id": "ann", "session_id": "s1"}


@dataclass
class Wrapped:
    """One such process, its session service, and the file in which the application notes what happens."""

    process: Running
    sessions: SessionServiceApp
    folder: Path

    @property
    def port(self) -> int:
        return int(self.process.addresses["listen"].rpartition(":")[2])

    @property
    def url(self) -> str:
        return self.process.url()

    @property
    def journal(self) -> list[str]:
        return (self.folder / "journal").read_text().splitlines()

    @property
    def seen(self) -> list[tuple[str, bytes]]:
        """What the application saw, but for questions like this one."""
        found = httpx.get(f"{self.url}/seen", trust_env=False).json()
        return [(method, bytes.fromhex(body)) for method, body in found]

    def go_on(self) -> None:
        """Let what waits in the application go on."""
        (self.folder / "go-on").touch()

    def metrics(self) -> str:
        return httpx.get(f"{self.process.url('admin')}/metrics", trust_env=False).text


def settings_of(folder: Path, session_service: str = "http://127.0.0.1:9", **more: str) -> dict[str, str]:
    shutil.copy(str(wrapped_app.__file__), folder / "wrapped_app.py")
    return {
        "JOURNAL": str(folder / "journal"),
        "SIDECAR_SESSION_SERVICE": session_service,
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN": "127.0.0.1:0",
        "SIDECAR_MAX_BODY": str(MAX_BODY),
        **more,
    }


@contextlib.contextmanager
def wrapped(folder: Path, **more: str) -> Iterator[Wrapped]:
    with serve_session_service() as sessions:
        settings = settings_of(folder, sessions.url, **more)
        with running("sidecar", "wrap", "wrapped_app:app", role="sidecar", env=settings, cwd=folder) as process:
            yield Wrapped(process, sessions, folder)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wrapped]:
    with wrapped(tmp_path_factory.mktemp("wrapped"), SIDECAR_ACCESS_LOG="true") as each:
        yield each


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Wrapped]:
    """One that the test may stop."""
    with wrapped(tmp_path) as each:
        yield each


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_wrapped_application_passes_the_table(door: Wrapped, case: Case) -> None:
    """Status, reason, sessions created, and what the application saw are as the table says."""
    recorder: Any = door
    await check(case, door.port, door.sessions, recorder)


@pytest.mark.parametrize("case", OUTAGE_CASES, ids=str)
async def test_a_wrapped_application_passes_the_table_of_outages(door: Wrapped, case: Case) -> None:
    """While the session service is down, guarded writes are refused and all else passes."""
    door.sessions.down = True
    recorder: Any = door
    try:
        await check(case, door.port, door.sessions, recorder)
    finally:
        door.sessions.down = False


def test_each_end_to_end_test_runs_through_wrap_or_says_why_not() -> None:
    """A file is in the table, or its tests are parameterised over the ways to run the sidecar."""
    through = {path.name for path in E2E.glob("test_*.py") if THROUGH_WRAP.search(path.read_text())}
    assert {path.name for path in E2E.glob("test_*.py")} - through <= NOT_FOR_WRAP.keys()
    assert through & NOT_FOR_WRAP.keys() <= {"test_wrap.py", "test_dashboard.py", "test_pause.py", "test_up.py"}
    assert THROUGH_WRAP_BY_DEFAULT.keys() <= through


def test_the_address_of_an_upstream_means_nothing_to_wrap(tmp_path: Path) -> None:
    """Not even where it is the address to listen at; a variable that is set in vain is a warning."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    env = settings_of(tmp_path, SIDECAR_LISTEN=address, SIDECAR_UPSTREAM=f"http://{address}", SIDECAR_LOG="json")
    with running("sidecar", "wrap", "wrapped_app:app", role="sidecar", env=env, cwd=tmp_path) as process:
        assert httpx.get(f"{process.url()}/state", trust_env=False).json() == "hello"
        shown = httpx.get(f"{process.url('admin')}/config", trust_env=False).text
        health = httpx.get(f"{process.url('admin')}/dashboard.json", trust_env=False).json()["health"]
    assert any("SIDECAR_UPSTREAM is not used by wrap, which forwards nothing" in line for line in process.stderr)
    assert "SIDECAR_UPSTREAM" not in shown
    assert {part["name"]: part["state"] for part in health}["Memory service"] == "up"


@pytest.mark.parametrize(
    ("application", "code", "said"),
    [
        ("wrapped_app:app", 0, "session service put, ok"),
        pytest.param(
            "wrapped_app:nothing",
            2,
            'Attribute "nothing" not found in module "wrapped_app"',
            marks=pytest.mark.variant,
        ),
        pytest.param("wrapped_app:not_an_application", 2, "an ASGI application is allowed", marks=pytest.mark.variant),
        ("broken:app", 2, "broken:app: RuntimeError while it is imported: no key"),
    ],
)
def test_check_looks_at_the_application_in_place_of_an_upstream(
    tmp_path: Path, application: str, code: int, said: str
) -> None:
    """The upstream, at which no server listens, is not tried."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('no key')")
    with serve_session_service() as sessions:
        env = settings_of(tmp_path, sessions.url)
        ended = run_to_end("sidecar", "check", "--connect", "--wrap", application, env=env, cwd=tmp_path)
    assert ended.process.returncode == code, ended.stderr
    assert any(said in line for line in ended.stdout + ended.stderr)
    assert not any("SIDECAR_UPSTREAM" in line for line in ended.stdout + ended.stderr)


GUARDS_ITSELF = """
import contextlib
from sidecar import SessionGuard, SessionGuardMiddleware, Settings
from starlette.applications import Starlette
from starlette.routing import Mount
from wrapped_app import app as memories

guard = SessionGuard.from_settings(Settings())

@contextlib.asynccontextmanager
async def lifespan(app):
    async with guard:
        yield

app = Starlette(routes=[Mount("/memory", app=SessionGuardMiddleware(memories, guard=guard))], lifespan=lifespan)
"""


def test_an_application_that_guards_a_part_of_itself_goes_on_to(tmp_path: Path) -> None:
    """Its guard reads each request itself: the outer one knows nothing of the part's paths."""
    (tmp_path / "guards_itself.py").write_text(GUARDS_ITSELF)
    with serve_session_service() as sessions:
        env = settings_of(tmp_path, sessions.url)
        with running("sidecar", "wrap", "guards_itself:app", role="sidecar", env=env, cwd=tmp_path) as process:
            for user, status in (("ann", 200), ("bob", 403)):
                answered = httpx.post(f"{process.url()}/memory{STORE}", json=ANN | {"user_id": user}, trust_env=False)
                assert answered.status_code == status
        assert sessions.sessions["s1"].user_id == "ann"


async def test_a_response_of_declared_length_leaves_in_one_piece(door: Wrapped) -> None:
    """Its head waits for its body, as ASGI asks for, so that the client is woken once."""
    async with raw_client(door.port) as client:
        await client.send(get("/state"))
        assert (await client.reader.read(65536)).endswith(b'\r\n\r\n"hello"')


def test_the_lifespan_surrounds_serving_and_its_state_reaches_requests(own: Wrapped) -> None:
    """The application starts before the first request and stops after the last; requests have its state."""
    assert own.journal == ["started"]
    assert httpx.get(f"{own.url}/state", trust_env=False).json() == "hello"
    assert own.process.stop() == 0
    assert own.journal == ["started", "stopped"]


def test_an_application_that_does_not_get_started_can_be_stopped(tmp_path: Path) -> None:
    """A signal ends the process in order while the application still starts."""
    env = settings_of(tmp_path, WAITS_TO_START="yes")
    process = Running([sys.executable, "-m", "sidecar", "wrap", "wrapped_app:app"], env, tmp_path)
    wait_until((tmp_path / "journal").exists, "the application to begin to start")
    try:
        assert process.stop() == 0
    finally:
        process.close()


def test_a_second_signal_ends_an_application_that_does_not_stop(tmp_path: Path) -> None:
    """It is the exit code 1 of a stop that was not in order."""
    with wrapped(tmp_path, WAITS_TO_STOP="yes") as each:
        each.process.process.terminate()
        wait_until(lambda: each.journal[-1] == "stopping", "the application to begin to stop")
        assert each.process.stop() == 1


def test_an_application_that_fails_to_start_ends_the_process_with_1(tmp_path: Path) -> None:
    """No ready line is written, and the reason is logged."""
    ended = run_to_end(
        "sidecar", "wrap", "wrapped_app:app", env=settings_of(tmp_path, FAILS_TO_START="yes"), cwd=tmp_path
    )
    assert ended.process.returncode == 1
    assert not any(line.startswith("ready") for line in ended.stdout)
    assert any("no database" in line for line in ended.stderr + ended.stdout)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:app", "Could not import module"),
        ("wrapped_app:nothing", 'Attribute "nothing" not found in module "wrapped_app"'),
        ("wrapped_app", "must be in format"),
        ("wrapped_app:not_an_application", "an ASGI application is allowed"),
    ],
)
def test_a_name_that_leads_to_no_application_is_one_readable_line(tmp_path: Path, name: str, said: str) -> None:
    """The exit code is 2, and the line names what was asked for."""
    ended = run_to_end("sidecar", "wrap", name, env=settings_of(tmp_path), cwd=tmp_path)
    assert ended.process.returncode == 2
    (line,) = ended.stderr
    assert line.startswith("session-sidecar: ")
    assert name in line
    assert said in line


def test_bad_settings_of_the_memory_service_are_one_readable_line_each(tmp_path: Path) -> None:
    """It reads them when it is imported; the exit code is the one of bad settings of the sidecar."""
    env = settings_of(tmp_path, MEMORY_DATABASE_URL="memories", MEMORY_DATABASE_SCHEMA="a b")
    ended = run_to_end("sidecar", "wrap", "memory_service.asgi:app", env=env, cwd=tmp_path)
    assert ended.process.returncode == 2
    named = {line.removeprefix("session-sidecar: ").partition(":")[0] for line in ended.stderr}
    assert named == {"MEMORY_DATABASE_URL", "MEMORY_DATABASE_SCHEMA"}


async def test_a_streaming_response_arrives_piece_by_piece(own: Wrapped) -> None:
    """The client has the first piece while the application waits before the second."""
    async with raw_client(own.port) as client:
        await client.send(get("/stream"))
        assert b"Transfer-Encoding: chunked" in await client.reader.readuntil(b"3\r\none\r\n")
        own.go_on()
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


def test_a_websocket_works_as_under_uvicorn(door: Wrapped) -> None:
    """Subprotocol, lifespan state and messages are the application's own."""
    with connect(f"ws://127.0.0.1:{door.port}/socket", subprotocols=["echo"], proxy=None) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "echo"
        socket.send("world")
        assert socket.recv() == "hello world"


def test_a_websocket_that_names_a_session_makes_it_exist(door: Wrapped) -> None:
    """The handshake is guarded by the ids in its path and query."""
    address = f"ws://127.0.0.1:{door.port}/api/v1/memories/session/w1/socket"
    with connect(f"{address}?user_id=ann", proxy=None) as socket:
        socket.send("world")
        assert socket.recv() == "hello world"
    assert door.sessions.sessions["w1"].user_id == "ann"
    with pytest.raises(InvalidStatus) as refused, connect(f"{address}?user_id=bob", proxy=None):
        pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.headers["x-sidecar-reason"] == "session_owned_by_another_user"


async def test_responses_have_one_date(door: Wrapped) -> None:
    """An origin server names the time (RFC 9110, section 6.6.1), in refusals too."""
    assert len((await ask(door.port, get("/state"))).values("date")) == 1
    assert len((await ask(door.port, get("/api/v1//memories", method="POST"))).values("date")) == 1


async def test_a_body_that_stops_arriving_is_a_408(tmp_path: Path) -> None:
    """Also where no rule looks at the request and the application itself waits for the body."""
    with wrapped(tmp_path, SIDECAR_BODY_TIMEOUT="200ms") as each:
        answered = await ask(each.port, get("/x", "Content-Length: 5", method="POST") + b"ab")
    assert answered.status == 408
    assert answered.values("x-sidecar-reason") == [b"body_timeout"]


def test_the_admin_address_counts_what_was_decided(own: Wrapped) -> None:
    """Decisions, refusals and responses appear in the metrics."""
    with httpx.Client(base_url=own.url, trust_env=False) as client:
        assert client.post(STORE, json=ANN).status_code == 200
        assert client.post(STORE, json=ANN | {"user_id": "bob"}).status_code == 403
    metrics = own.metrics()
    assert 'sidecar_requests_total{decision="refused",reason="session_owned_by_another_user"} 1.0' in metrics
    assert 'sidecar_responses_total{code="4xx"} 1.0' in metrics
    assert "sidecar_orphan_writes_prevented_total 1.0" in metrics


async def test_stopping_answers_what_is_in_flight_and_closes_websockets(own: Wrapped) -> None:
    """A slow request gets its response, a WebSocket its close frame 1012, and then the application is stopped."""
    async with raw_client(own.port) as client:
        with connect(f"ws://127.0.0.1:{own.port}/socket", proxy=None) as socket:
            await client.send(get("/slow"))
            wait_until(lambda: {"slow began", "socket open"} <= set(own.journal), "both to be in flight")
            own.process.process.terminate()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        own.go_on()
        answered = await client.answer()
    assert answered.body == b'"done"'
    assert own.process.wait() == 0
    assert own.journal[-1] == "stopped"
