"""What an operator sees of a real sidecar: log lines, counters and request ids while things fail."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sidecar.model
from tests.support.platform import STORE, metric
from tests.support.processes import DEADLINE, Running, run_to_end, running, wait_until
from tests.support.servers import served
from tests.support.sidecar_process import sidecar_process
from tests.support.ways import Way, sidecar_before

WRITE = {"user_id": "ada", "session_id": "s-1", "message_content": "Hello"}

FAILING = """
import sidecar.admin.app, sidecar.session_client.client, sidecar.http.client.forwarder, sidecar.extract.extractor
import sidecar.guard.guard
from sidecar.command_line import commands

def failing(where):
    def fail(*args, **options):
        raise RuntimeError(f"thrown in {where}")
    return fail

def in_place_of(owner, name, where, wanted):
    real = getattr(owner, name)
    def perhaps(self, *args, **options):
        if any(wanted in repr(arg) for arg in args):
            raise RuntimeError(f"thrown in {where}")
        return real(self, *args, **options)
    setattr(owner, name, perhaps)

in_place_of(sidecar.extract.extractor.Extractor, "classify", "extraction", "fail-extract")
in_place_of(sidecar.guard.guard.Guard, "authorize", "the guard", "fail-guard")
in_place_of(sidecar.session_client.client.HttpSessionService, "ensure", "the session client", "fail-session")
in_place_of(sidecar.http.client.forwarder.Forwarder, "forward", "the forwarder", "fail-forward")
sidecar.admin.app.choose_encoder = failing("the admin address")
commands(["serve"])
"""


def service() -> Starlette:
    """A memory service and a session service in one, which repeats the request ids that it was given."""

    async def session(request: Request) -> Response:
        body = await request.json()
        seen.append(("session", dict(request.headers)))
        session = {"session_id": request.path_params["id"], "user_id": body["user_id"], "status": "active"}
        return JSONResponse(session, 201)

    async def store(request: Request) -> Response:
        seen.append(("memory", dict(request.headers)))
        return JSONResponse({"success": True})

    seen: list[tuple[str, dict[str, str]]] = []
    app = Starlette(
        routes=[
            Route("/api/v1/sessions/{id}", session, methods=["PUT"]),
            Route(STORE, store, methods=["POST"]),
            Route("/{rest:path}", lambda _request: JSONResponse({}), methods=["GET"]),
        ]
    )
    app.state.seen = seen
    return app


def settings(upstream: str, **more: str) -> dict[str, str]:
    return {
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN": "127.0.0.1:0",
        "SIDECAR_UPSTREAM": upstream,
        "SIDECAR_SESSION_SERVICE": upstream,
        "SIDECAR_LOG": "json",
        **more,
    }


def lines(process: Running) -> list[dict[str, Any]]:
    """What was logged so far; fails where a line is no JSON object."""
    return [json.loads(line) for line in list(process.stderr)]


def events(process: Running, event: str) -> list[dict[str, Any]]:
    return [line for line in lines(process) if line["event"] == event]


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    # A sidecar that stops waits a moment for requests that may be on their way on an idle connection: here are none.
    with httpx.Client(timeout=30, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


def closed_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("fast_path", ["true", "false"])
def test_a_dead_memory_service_is_logged_and_counted_by_reason(
    tmp_path: Path, http: httpx.Client, fast_path: str
) -> None:
    """Reads, unguarded writes and known sessions' writes are logged and counted on both ways through the sidecar."""
    with served(service()) as sessions:
        dead = closed_address()
        env = settings(dead, SIDECAR_SESSION_SERVICE=sessions, SIDECAR_FAST_LANE=fast_path)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            headers = {"X-Request-ID": "req-7"}
            answers = [http.get(sidecar.url() + "/health", headers=headers)]
            answers += [http.post(sidecar.url() + STORE, json=WRITE, headers=headers) for _ in range(3)]
            assert {answer.status_code for answer in answers} == {502}
            assert {answer.headers["x-request-id"] for answer in answers} == {"req-7"}
            wait_until(lambda: len(events(sidecar, "the memory service failed")) == 4, "four lines")
            for line in events(sidecar, "the memory service failed"):
                assert (line["reason"], line["upstream"], line["request_id"]) == ("upstream_unavailable", dead, "req-7")
            metrics = http.get(sidecar.url("admin") + "/metrics").text
    assert metric(metrics, "sidecar_upstream_errors_total", reason="upstream_unavailable") == 4
    assert metric(metrics, "sidecar_responses_total", code="5xx") == 4


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun"])
def test_a_connection_that_breaks_under_a_known_session_is_seen_on_the_fast_path(
    tmp_path: Path, http: httpx.Client, cut: bytes
) -> None:
    """A break before the answer and in the middle of it is logged and counted."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", cut):
                received = b""
                while not received.endswith(b"}"):
                    received += connection.recv(65536)
                connection.sendall(answer)

    with served(service()) as sessions, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        memory = threading.Thread(target=serve, daemon=True)
        memory.start()
        env = settings(f"http://127.0.0.1:{listener.getsockname()[1]}", SIDECAR_SESSION_SERVICE=sessions)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            assert http.post(sidecar.url() + STORE, json=WRITE).status_code == 200
            if cut:
                with pytest.raises(httpx.RemoteProtocolError):
                    http.post(sidecar.url() + STORE, json=WRITE)
            else:
                assert http.post(sidecar.url() + STORE, json=WRITE).status_code == 502
            wait_until(lambda: events(sidecar, "the memory service failed"), "the line")
            metrics = http.get(sidecar.url("admin") + "/metrics").text
        memory.join()
    assert metric(metrics, "sidecar_upstream_errors_total", reason="upstream_unavailable") == 1


def test_a_memory_service_that_does_not_answer_is_a_504_logged_and_counted(tmp_path: Path, http: httpx.Client) -> None:
    """A connection that is accepted and never answered gives 504, a log line and a count."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = settings(f"http://127.0.0.1:{listener.getsockname()[1]}", SIDECAR_UPSTREAM_TIMEOUT="200ms")
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            assert http.get(sidecar.url() + "/health").status_code == 504
            wait_until(lambda: events(sidecar, "the memory service failed"), "the line")
            assert events(sidecar, "the memory service failed")[0]["reason"] == "upstream_timeout"
            metrics = http.get(sidecar.url("admin") + "/metrics").text
    assert metric(metrics, "sidecar_upstream_errors_total", reason="upstream_timeout") == 1


def test_a_refusal_names_detail_request_id_and_what_the_session_service_answered(
    tmp_path: Path, way: Way, http: httpx.Client
) -> None:
    """And the client gets the id, made where it gave none."""

    async def session(_request: Request) -> Response:
        return JSONResponse({"detail": "another's", "reason": "session_conflict"}, 409)

    app = Starlette(routes=[Route("/{rest:path}", session, methods=["PUT", "GET"])])
    with served(app) as url, sidecar_before(way, url, env=settings(url), cwd=tmp_path) as sidecar:
        refused = http.post(sidecar.url() + STORE, json=WRITE)
        assert refused.status_code == 403
        wait_until(lambda: events(sidecar, "write refused"), "the line")
        (line,) = events(sidecar, "write refused")
    assert line["reason"] == "session_owned_by_another_user"
    assert line["detail"] == refused.json()["detail"]
    assert line["request_id"] == refused.headers["x-request-id"]
    assert (line["session_service_answer"], line["session_service"]) == ("409", url)
    assert (line["session_id"], line["user_id"], line["path"]) == ("s-1", "ada", STORE)


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"X-Request-ID": "abc/1"}, "abc/1"),
        ({"traceparent": f"00-{'4b' * 16}-{'01' * 8}-01"}, "4b" * 16),
        ({}, None),
    ],
)
def test_one_request_id_ties_log_session_call_and_memory_request_together(
    tmp_path: Path, way: Way, http: httpx.Client, headers: dict[str, str], request_id: str | None
) -> None:
    """The memory service gets what the client sent, and no field more."""
    app = service()
    with served(app) as url, sidecar_before(way, url, env=settings(url), cwd=tmp_path) as sidecar:
        assert http.post(sidecar.url() + STORE, json=WRITE, headers=headers).status_code == 200
        wait_until(lambda: events(sidecar, "write decided"), "the line")
        (line,) = events(sidecar, "write decided")
    (to_sessions,) = [given for role, given in app.state.seen if role == "session"]
    (to_memory,) = [given for role, given in app.state.seen if role == "memory"]
    assert line["decision"] == "created"
    assert line["request_id"] == to_sessions["x-request-id"]
    assert request_id in (None, line["request_id"])
    assert to_memory.get("x-request-id") == headers.get("X-Request-ID")
    assert to_sessions.get("traceparent") == to_memory.get("traceparent") == headers.get("traceparent")


def test_every_line_is_json_with_an_exception_thrown_in_each_layer(tmp_path: Path, http: httpx.Client) -> None:
    """Extraction, guard, session client, forwarder and admin address each throw, and start and stop are logged."""
    process: Running | None = None
    with served(service()) as url:
        env = {**settings(url, SIDECAR_UPSTREM="x"), "PYTHONPATH": str(Path(__file__).parents[2])}
        process = Running([sys.executable, "-c", FAILING], env, tmp_path)
        try:
            process.wait_ready("sidecar")
            for name in ("fail-extract", "fail-forward"):
                assert http.get(f"{process.url()}/api/v1/{name}").status_code == 500
            for name in ("fail-guard", "fail-session"):
                http.post(process.url() + STORE, json={**WRITE, "session_id": name})
            assert http.get(process.url("admin") + "/metrics").status_code == 500
        finally:
            code = process.stop(signal.SIGTERM)
            process.close()
    logged = lines(process)
    assert code == 0
    thrown = "\n".join(line.get("exception", "") for line in logged)
    for where in ("extraction", "the guard", "the session client", "the forwarder", "the admin address"):
        assert f"thrown in {where}" in thrown
    told = [line["event"] for line in logged]
    assert told[0] == "SIDECAR_UPSTREM is not a setting; did you mean SIDECAR_UPSTREAM?"
    # What is noticed of the session service meanwhile may stand between the two.
    assert [event for event in told if event in ("stopping", "stopped")] == ["stopping", "stopped"]
    assert told[-1] == "stopped"
    (started,) = [line for line in logged if line["event"] == "started"]
    assert (started["mode"], started["profile"], started["upstream"]) == ("enforce", "isa", url)
    assert started["listen"] == process.addresses["listen"]
    assert started["version"]


def test_the_first_line_says_where_the_sessions_are(tmp_path: Path) -> None:
    """It is the upstream where the profile says that this keeps the sessions."""
    env = {"SIDECAR_PROFILE": "adk", "SIDECAR_LOG": "json"}
    with sidecar_process("http://127.0.0.1:99", tmp_path, **env) as sidecar:
        wait_until(lambda: events(sidecar.process, "started"), "the line")
        (started,) = events(sidecar.process, "started")
    assert started["session_service"] == "http://127.0.0.1:99"


def test_bad_settings_and_a_taken_address_are_json_lines_too(tmp_path: Path) -> None:
    """A process that cannot start says why in JSON lines."""
    bad = run_to_end("sidecar", "serve", env={"SIDECAR_LOG": "json", "SIDECAR_CACHE_SIZE": "0"}, cwd=tmp_path)
    assert bad.process.returncode == 2
    assert [line["event"].partition(":")[0] for line in lines(bad)] == ["SIDECAR_CACHE_SIZE"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {"SIDECAR_LOG": "json", "SIDECAR_LISTEN": f"127.0.0.1:{listener.getsockname()[1]}"}
        taken = run_to_end("sidecar", "serve", env=env, cwd=tmp_path)
    assert taken.process.returncode == 1
    assert "already in use" in lines(taken)[-1]["event"]


UNABLE_TO_ACCEPT = """
import errno, os, sys
import uvloop
from sidecar.command_line import commands

able = int(sys.argv[1])
real = uvloop.Loop.create_server

async def limited(*args, **options):
    global able
    able -= 1
    if able < 0:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return await real(*args, **options)

uvloop.Loop.create_server = limited
commands(["serve"])
"""


@pytest.mark.parametrize("able", range(3), ids=["admin", "authoriser", "proxy"])
def test_a_server_that_cannot_accept_connections_ends_the_process_in_one_line(tmp_path: Path, able: int) -> None:
    """Whichever of the three servers it is, the line names its address and the process ends with 1."""
    env = dict.fromkeys(("SIDECAR_LISTEN", "SIDECAR_ADMIN", "SIDECAR_AUTHZ"), "127.0.0.1:0")
    env |= {"SIDECAR_LOG": "json", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = Running([sys.executable, "-c", UNABLE_TO_ACCEPT, str(able)], env, tmp_path)
    try:
        assert process.wait() == 1
        (line,) = [line["event"] for line in lines(process) if line["level"] == "error"]
        assert re.fullmatch(r"cannot accept connections on 127\.0\.0\.1:\d+: Too many open files", line)
        assert process.stdout == []
    finally:
        process.kill()
        process.close()


def test_the_access_log_has_a_line_for_each_request(tmp_path: Path, way: Way, http: httpx.Client) -> None:
    """A line has the path without its query."""
    with served(service()) as url:
        env = settings(url, SIDECAR_ACCESS_LOG="true")
        with sidecar_before(way, url, env=env, cwd=tmp_path) as sidecar:
            for _ in range(2):
                http.post(sidecar.url() + STORE + "?secret=1", json=WRITE, headers={"X-Request-ID": "r-1"})
            wait_until(lambda: len(events(sidecar, "request")) == 2, "both lines")
            logged = events(sidecar, "request")
    assert [line["decision"] for line in logged] == ["created", "known"]
    for line in logged:
        assert (line["method"], line["path"], line["status"], line["request_id"]) == ("POST", STORE, 200, "r-1")
        assert line["received"] > 0
        assert line["sent"] == len('{"success":true}')
        assert line["flags"] == "-"


def broken_off(connection: socket.socket) -> None:
    """Begin a response and break the connection."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")


def silent(connection: socket.socket) -> None:
    """Answer nothing until the other side gives up."""
    while connection.recv(65536):
        pass


def endless(connection: socket.socket) -> None:
    """Begin a response, and send no more until the other side gives up."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
    silent(connection)


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection: read a request's head, then answer."""

    def serve() -> None:
        with listener.accept()[0] as connection:
            while not connection.recv(65536).endswith(b"\r\n\r\n"):
                pass
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("answer", "leaves", "flags", "status"),
    [
        (lambda connection: connection.close(), False, "UF", 502),
        (broken_off, False, "UC", 200),
        (silent, False, "UT", 504),
        (silent, True, "DC", None),
        (endless, True, "DC", 200),
    ],
    ids=["refused", "broken off", "too late", "client left before", "client left midway"],
)
def test_the_access_log_says_who_broke_off(
    tmp_path: Path, answer: Callable[[socket.socket], None], leaves: bool, flags: str, status: int | None
) -> None:
    with answering(answer) as url:
        env = settings(url, SIDECAR_SESSION_SERVICE=closed_address(), SIDECAR_ACCESS_LOG="true")
        env |= {"SIDECAR_UPSTREAM_TIMEOUT": "60s" if leaves else "200ms"}
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
            host, port = sidecar.addresses["listen"].split(":")
            with socket.create_connection((host, int(port))) as client:
                client.settimeout(DEADLINE)
                client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if leaves and status is not None:
                    assert client.recv(65536)
                elif leaves:
                    wait_until(lambda: upstream_connections(sidecar, "active") == 1, "the request to be forwarded")
                else:
                    with contextlib.suppress(ConnectionResetError):
                        while client.recv(65536):
                            pass
            wait_until(lambda: events(sidecar, "request"), "the line")
            (line,) = events(sidecar, "request")
    assert (line["flags"], line["status"]) == (flags, status)


def upstream_connections(sidecar: Running, state: str) -> float:
    metrics = httpx.get(sidecar.url("admin") + "/metrics", trust_env=False).text
    return metric(metrics, "sidecar_upstream_connections", state=state)


def test_the_access_log_names_the_reason_of_a_refusal(tmp_path: Path, way: Way, http: httpx.Client) -> None:
    with served(service()) as url:
        env = settings(url, SIDECAR_ACCESS_LOG="true")
        with sidecar_before(way, url, env=env, cwd=tmp_path) as sidecar:
            http.post(sidecar.url() + STORE, json={"session_id": "s1"})
            wait_until(lambda: events(sidecar, "request"), "the line")
            (line,) = events(sidecar, "request")
    assert (line["flags"], line["reason"], line["status"]) == ("SR", "user_id_required", 422)


def test_hidden_ids_stand_in_no_line_and_not_on_the_dashboard(tmp_path: Path, way: Way, http: httpx.Client) -> None:
    with served(service()) as url:
        env = settings(url, SIDECAR_ACCESS_LOG="true", SIDECAR_LOG_IDS="hashed")
        with sidecar_before(way, url, env=env, cwd=tmp_path) as sidecar:
            http.post(sidecar.url() + STORE, json={"session_id": "topsecret", "user_id": "nobodys-name"})
            http.post(sidecar.url() + "/api/v1/memories/session/topsecret/summarize", json={"user_id": 7})
            wait_until(lambda: len(events(sidecar, "request")) == 2, "both lines")
            shown = http.get(sidecar.url("admin") + "/dashboard.json").text
            logged = "\n".join(sidecar.stderr)
    for text in (shown, logged):
        assert "invalid_user_id" in text
        assert "topsecret" not in text
        assert "nobodys-name" not in text


def test_ten_thousand_refusals_leave_a_bounded_log(tmp_path: Path, way: Way) -> None:
    """Each refusal is counted, and few are written."""
    body = b'{"session_id": "s1"}'
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        STORE.encode(),
        len(body),
        body,
    )
    with (
        served(service()) as url,
        sidecar_before(way, url, env=settings(url), cwd=tmp_path) as sidecar,
    ):
        host, port = sidecar.addresses["listen"].split(":")
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(DEADLINE)
            for _ in range(100):
                client.sendall(request * 100)
                answers = b""
                while answers.count(b"HTTP/1.1 422 ") < 100 or not answers.endswith(b"}"):
                    answers += client.recv(1 << 20)
        metrics = httpx.get(sidecar.url("admin") + "/metrics", trust_env=False).text
        # A second that has ended is reported a moment later.
        wait_until(
            lambda: (
                len(events(sidecar, "write refused")) <= 10 * len(events(sidecar, "lines were withheld")) + 10
                and events(sidecar, "lines were withheld")
            ),
            "a count for each second",
        )
        refusals, withheld = events(sidecar, "write refused"), events(sidecar, "lines were withheld")
    assert metric(metrics, "sidecar_requests_total", reason="user_id_required") == 10_000
    assert len(refusals) + sum(line["count"] for line in withheld) <= 10_000
    assert len(refusals) <= 10 * (len(withheld) + 1)
    assert len(refusals) + len(withheld) < 1_000


def test_what_runs_and_what_was_prevented_are_published(tmp_path: Path, way: Way, http: httpx.Client) -> None:
    """Ten first writes for one session made one session."""
    with served(service()) as url, sidecar_before(way, url, env=settings(url), cwd=tmp_path) as one:
        for _ in range(10):
            http.post(one.url() + STORE, json=WRITE)
        metrics = http.get(one.url("admin") + "/metrics").text
    compiled = "true" if str(sidecar.model.__file__).endswith(".so") else "false"
    assert metric(metrics, "sidecar_orphan_writes_prevented_total") == 1
    assert metric(metrics, "sidecar_build_info", mode="enforce", profile="isa", compiled=compiled) == 1
    assert metric(metrics, "sidecar_creation_stopped") == 0
    assert metric(metrics, "sidecar_debts") == 0
    assert metric(metrics, "sidecar_responses_total", code="2xx") == 10
    assert metric(metrics, "process_resident_memory_bytes") > 0
