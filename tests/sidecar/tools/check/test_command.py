"""`session-sidecar check`: what it prints, what it finds wrong, and what it tries."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sidecar.tools.check.command import check
from tests.support.probed import PROFILE, WITH_VARIABLE, Service
from tests.support.servers import served


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SESSION_SERVICE_URL", "CONSUL_HTTP_ADDR", "CONSUL_HOST"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(check, arguments, env=env)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def platform() -> Starlette:
    """A session service whose POST creates and whose PUT updates: an unknown id is 404 without a reason."""

    async def session(_request: Request) -> JSONResponse:
        return JSONResponse({"detail": "Session not found"}, 404)

    async def create(request: Request) -> JSONResponse:
        raise AssertionError(f"check must not {request.method}")

    return Starlette(
        routes=[
            Route("/api/v1/sessions", create, methods=["POST"]),
            Route("/api/v1/sessions/{session_id}", session, methods=["GET", "PUT"]),
        ]
    )


def ours() -> Starlette:
    async def session(_request: Request) -> JSONResponse:
        return JSONResponse({"detail": "There is none.", "reason": "session_not_found"}, 404)

    return Starlette(routes=[Route("/api/v1/sessions/{session_id}", session, methods=["GET"])])


def test_it_ends_in_one_line_that_names_the_profile_and_says_ok() -> None:
    """Like `nginx -t`, the command prints one line, and the settings only on demand."""
    result = run()
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert line.startswith("profile isa: ")
    assert line.endswith(" rules, session service put, ok")


def test_verbose_prints_the_effective_settings_with_secrets_masked() -> None:
    """Each variable is printed, and the verdict after them."""
    result = run("--verbose", SIDECAR_ADMIN_TOKEN="hush", SIDECAR_CACHE_TTL="2m")
    lines = result.stdout.splitlines()
    assert "SIDECAR_CACHE_TTL=120s" in lines
    assert "SIDECAR_ADMIN_TOKEN=**********" in lines
    assert "hush" not in result.output
    assert lines[-1].endswith(", ok")


def test_an_unknown_variable_is_a_warning_and_with_strict_a_problem() -> None:
    """An unknown `SIDECAR_` variable, as orchestrators inject, is a warning, and an error with `--strict`."""
    assert (result := run(SIDECAR_UPSTREM="x")).exit_code == 0
    assert "warning: SIDECAR_UPSTREM is not a setting; did you mean SIDECAR_UPSTREAM?" in result.stderr
    assert (result := run("--strict", SIDECAR_UPSTREM="x")).exit_code == 2
    assert result.stdout.endswith(", 1 problem\n")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"SIDECAR_UPSTREAM": "http://host:99999"}, "the port must be 1 to 65535"),
        ({"SIDECAR_UPSTREAM": "http://host:0"}, "the port must be 1 to 65535"),
        ({"SIDECAR_UPSTREAM": "http://h:abc"}, "http:// or https:// with a host"),
        ({"SIDECAR_SESSION_SERVICE": "http://h:abc"}, "http:// or https:// with a host"),
        ({"SIDECAR_UPSTREAM": "http://[::1"}, "http:// or https:// with a host"),
        ({"SIDECAR_ADMIN": "127.0.0.1:8080"}, "an address other than SIDECAR_LISTEN"),
        ({"SIDECAR_AUTHZ": "localhost:9901"}, "an address other than SIDECAR_ADMIN"),
        ({"SIDECAR_LISTEN": "0.0.0.0:9901"}, "SIDECAR_ADMIN: '127.0.0.1:9901': an address other than SIDECAR_LISTEN"),
        ({"SIDECAR_UPSTREAM": "http://127.0.0.1:8080"}, "the sidecar itself (SIDECAR_LISTEN)"),
        ({"SIDECAR_UPSTREAM": "http://localhost:8080/"}, "the sidecar itself (SIDECAR_LISTEN)"),
        ({"SIDECAR_LISTEN": "[::]:18080"}, "the sidecar itself (SIDECAR_LISTEN)"),
        ({"SIDECAR_LISTEN": "unix:/run/a", "SIDECAR_UPSTREAM": "unix:///run/a"}, "the sidecar itself"),
        ({"SIDECAR_ADVERTISE": "memory:80", "SIDECAR_UPSTREAM": "http://memory"}, "itself (SIDECAR_ADVERTISE)"),
        ({"SIDECAR_ADVERTISE": "memory:0"}, "a port of 1 to 65535"),
        ({"SIDECAR_SESSION_SERVICE": "http://127.0.0.1:9901"}, "the sidecar itself (SIDECAR_ADMIN)"),
        ({"SIDECAR_MODE": "shadow", "SIDECAR_ON_OUTAGE": "forward"}, "SIDECAR_MODE=shadow owes nothing"),
        ({"SIDECAR_USER_HEADER": "Host"}, "HTTP itself uses this header"),
        ({"SIDECAR_USER_HEADER": "Upgrade"}, "HTTP itself uses this header"),
        ({"SIDECAR_USER_HEADER": "X-Forwarded-For"}, "the sidecar sets this header itself"),
        ({"SIDECAR_USER_HEADER": "X-Sidecar-User"}, "the sidecar sets this header itself"),
        ({"SIDECAR_AFTER_DELETE": "forget"}, "'refuse' or 'recreate'"),
        ({"SIDECAR_REUSE_PORT": "1"}, "true or false is allowed"),
        ({"SIDECAR_LOG_LEVEL": "loud"}, "'debug', 'info', 'warning' or 'error'"),
        ({"SIDECAR_ACCESS_LOG": "yes"}, "true or false is allowed"),
    ],
)
def test_what_can_never_work_is_one_problem_that_names_what_is_allowed(variables: dict[str, str], named: str) -> None:
    """Settings that contradict each other give one line without a traceback, and exit code 2."""
    result = run(**variables)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert named in line


def test_forward_needs_an_outbox_that_can_be_written(tmp_path: Path) -> None:
    """An outbox below a file instead of a folder is a problem, for the superuser too."""
    (tmp_path / "file").write_text("")
    result = run(SIDECAR_ON_OUTAGE="forward", SIDECAR_OUTBOX=str(tmp_path / "file" / "outbox.db"))
    assert result.exit_code == 2
    assert f"{tmp_path}/file is not a directory" in result.stderr
    assert run(SIDECAR_OUTBOX=str(tmp_path / "file" / "outbox.db")).exit_code == 0


def test_a_folder_is_no_outbox(tmp_path: Path) -> None:
    """An outbox path that is a folder is a problem."""
    result = run(SIDECAR_ON_OUTAGE="forward", SIDECAR_OUTBOX=str(tmp_path))
    assert result.exit_code == 2
    assert f"{tmp_path} is not a file" in result.stderr


def test_an_env_file_that_is_not_utf8_is_one_problem_beside_the_others(tmp_path: Path) -> None:
    """A `.env` file that is no UTF-8 is reported with line and byte, beside the problems of the environment."""
    (tmp_path / ".env").write_bytes(b"SIDECAR_MODE=off\nSIDECAR_LISTEN=\xff\xfe\n")
    result = run(SIDECAR_CACHE_SIZE="0")
    assert result.exit_code == 2
    assert ".env: line 2: byte 0xff is not UTF-8" in result.stderr
    assert "SIDECAR_CACHE_SIZE: '0'" in result.stderr


def test_connect_reports_what_answers(tmp_path: Path) -> None:
    """Upstream, session service and the folder of the outbox have a line each."""
    with served(ours()) as url:
        result = run(
            "--connect",
            SIDECAR_UPSTREAM=url,
            SIDECAR_SESSION_SERVICE=url,
            SIDECAR_ON_OUTAGE="forward",
            SIDECAR_OUTBOX=str(tmp_path / "new" / "outbox.db"),
        )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[:-1] == [
        f"SIDECAR_UPSTREAM: {url}: accepts connections",
        f"SIDECAR_SESSION_SERVICE: {url}: speaks what profile isa says",
        f"SIDECAR_OUTBOX: {tmp_path}/new can be written",
    ]


def test_connect_names_what_does_not_answer() -> None:
    """Upstream and session service are both named, and an outage is not taken for a wrong profile."""
    url = f"http://127.0.0.1:{free_port()}"
    result = run("--connect", SIDECAR_UPSTREAM=url, SIDECAR_SESSION_SERVICE=url, SIDECAR_SESSION_TIMEOUT="300ms")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["SIDECAR_UPSTREAM", "SIDECAR_SESSION_SERVICE"]
    assert "profile" not in result.stderr


def test_connect_says_that_a_session_service_does_not_speak_what_the_profile_says() -> None:
    """With `isa`, a service whose PUT updates is reported, and nothing is created to find that out."""
    with served(platform()) as url:
        result = run("--connect", SIDECAR_UPSTREAM=url, SIDECAR_SESSION_SERVICE=url)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "it does not speak what profile isa says: it answered 404" in line


def test_connect_gives_the_variables_of_a_profile_a_value(tmp_path: Path) -> None:
    """A call may not be written without them."""
    (tmp_path / "tried.toml").write_text(WITH_VARIABLE)
    with served(Service().app) as url:
        env = {"SIDECAR_PROFILE": "tried.toml", "SIDECAR_UPSTREAM": url, "SIDECAR_SESSION_SERVICE": url}
        result = run("--connect", **env)
    assert result.exit_code == 0, result.stderr
    assert "speaks what profile tried says" in result.stdout


def test_connect_names_a_consul_agent_that_does_not_answer() -> None:
    """An agent that does not answer is named, and no session service is asked."""
    agent = f"127.0.0.1:{free_port()}"
    with served(ours()) as url:
        result = run("--connect", SIDECAR_UPSTREAM=url, CONSUL_HTTP_ADDR=agent)
    assert result.exit_code == 2
    assert f"Consul at http://{agent}: " in result.stderr


@pytest.mark.parametrize(
    ("more", "passed_over"),
    [([], ""), ([{"Service": {"ID": "i-2", "Port": "x"}}], "; passed over: i-2: Service.Port: Input should be a ")],
)
def test_connect_finds_the_session_service_through_consul(more: list[Any], passed_over: str) -> None:
    """The instance that Consul names is the one that is asked, and entries that name none are told."""

    async def health(_request: Request) -> JSONResponse:
        host, _, port = url.removeprefix("http://").rpartition(":")
        service: dict[str, Any] = {"Address": host, "Port": int(port)}
        entry = {"Service": service, "Node": {"Address": host}}
        return JSONResponse([*more, entry], headers={"X-Consul-Index": "7"})

    consul = Starlette(routes=[Route("/v1/health/service/session_service", health)])
    with served(ours()) as url, served(consul) as agent:
        result = run("--connect", SIDECAR_UPSTREAM=url, CONSUL_HTTP_ADDR=agent)
    assert result.exit_code == 0, result.stderr
    assert f"Consul at {agent}: 1 passing instance(s) of session_service{passed_over}" in result.stdout
    assert f"SIDECAR_SESSION_SERVICE: {url}: speaks what profile isa says" in result.stdout


def test_connect_asks_the_upstream_where_it_keeps_the_sessions(tmp_path: Path) -> None:
    """A profile with `at = "upstream"` has no other session service, also where Consul knows one."""
    (tmp_path / "tried.toml").write_text(PROFILE.replace('style = "post"', 'style = "post"\nat = "upstream"'))
    with served(Service().app) as url:
        result = run("--connect", SIDECAR_UPSTREAM=url, SIDECAR_PROFILE=str(tmp_path / "tried.toml"))
    assert result.exit_code == 0, result.stderr
    assert f"SIDECAR_UPSTREAM, which keeps the sessions: {url}: speaks what profile tried says" in result.stdout
