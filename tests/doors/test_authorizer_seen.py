"""The authoriser while the session service is down, on a Unix socket, and in the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sidecar.doors.refusal import STATUS
from sidecar.model import Reason
from sidecar.testing import serve_session_service
from tests.doors.cases import JSON, OUTAGE_CASES, STORE, Case
from tests.support.authorizing import ask, authorizing, sidecar_env
from tests.support.platform import metric
from tests.support.processes import running

NO_UPSTREAM = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def authz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an authoriser whose session service answers 503."""
    with serve_session_service() as sessions:
        sessions.down = True
        env = sidecar_env(NO_UPSTREAM, sessions.url)
        with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path_factory.mktemp("down")) as sidecar:
            yield sidecar.addresses["authz"]


def expected(case: Case) -> int:
    """The status: one below 300 would admit, so a JSON-RPC refusal has that of its reason."""
    return 200 if case.reason is None else STATUS[Reason(case.reason)]


@pytest.mark.parametrize("case", OUTAGE_CASES, ids=str)
def test_envoy_and_traefik_pass_the_table_of_outages(authz: str, case: Case) -> None:
    """While the session service is down, guarded writes are refused and all else passes."""
    original = [("X-Forwarded-Method", case.method), ("X-Forwarded-Uri", case.target), *case.headers]
    by_envoy = ask(authz, case.method, f"/envoy{case.target}", case.headers, case.body)
    by_traefik = ask(authz, "GET", "/forward", original, case.body)
    for answer in (by_envoy, by_traefik):
        assert (answer.status, answer.reason) == (expected(case), case.reason), answer.body
        assert ("retry-after" in answer.fields) == (case.reason is not None)


@pytest.mark.parametrize("case", OUTAGE_CASES, ids=str)
def test_nginx_and_caddy_pass_the_table_of_outages_by_the_head(authz: str, case: Case) -> None:
    """A write whose body they keep back is refused for that."""
    for path, prefix in (("/nginx", "X-Original"), ("/forward", "X-Forwarded")):
        target = "URI" if path == "/nginx" else "Uri"
        length = "unknown" if case.body else "0"
        fields = [(f"{prefix}-Method", case.method), (f"{prefix}-{target}", case.target), *case.headers]
        answer = ask(authz, "GET", path, [*fields, (f"{prefix}-Content-Length", length)])
        wanted = (400, "unreadable_body") if case.body else (200, None)
        assert (answer.status, answer.reason) == wanted, answer.body


def test_a_rule_that_reads_the_answer_needs_no_body_here(tmp_path: Path) -> None:
    """A write under `recover` is permitted whether its body was shown, cut or kept back: the upstream checks it."""
    env = sidecar_env(NO_UPSTREAM, NO_UPSTREAM, SIDECAR_PROFILE="adk")
    body = b'{"appName": "app", "userId": "ann", "sessionId": "s-1"}'
    with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
        authz = sidecar.addresses["authz"]
        original = [("X-Original-Method", "POST"), ("X-Original-URI", "/run"), ("X-Original-Content-Length", "unknown")]
        answers = [
            ask(authz, "POST", "/envoy/run", JSON, body),
            ask(authz, "POST", "/envoy/run", [*JSON, ("x-envoy-auth-partial-body", "true")], body[:20]),
            ask(authz, "GET", "/nginx", [*original, *JSON]),
        ]
    assert [answer.status for answer in answers] == [200, 200, 200]


def test_an_outage_refuses_by_the_head_too(authz: str) -> None:
    """A write whose ids stand in its path and query needs no body to be refused."""
    uri = "/api/v1/memories/session/o9/summarize?user_id=ann"
    fields = [("X-Original-Method", "POST"), ("X-Original-URI", uri), ("X-Original-Content-Length", "0")]
    answer = ask(authz, "GET", "/nginx", fields)
    assert (answer.status, answer.reason) == (503, "session_service_unavailable")


def test_it_answers_on_a_unix_socket(tmp_path: Path) -> None:
    """`SIDECAR_AUTHZ=unix:/path` is for a proxy on the same machine."""
    path = tmp_path / "authz"
    with authorizing(tmp_path, SIDECAR_AUTHZ=f"unix:{path}") as world:
        assert world.authz == f"unix:{path}"
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://authz", trust_env=False) as client:
            body = {"user_id": "ann", "session_id": "u1"}
            assert client.post(f"/envoy{STORE}", json=body).status_code == 200
            refused = client.post(f"/envoy{STORE}", json={**body, "user_id": "bob"})
        assert refused.headers["x-sidecar-reason"] == "session_owned_by_another_user"
        assert world.all_sessions() == {("u1", "ann")}


def test_no_unix_socket_is_left_after_a_stop(tmp_path: Path) -> None:
    """Neither the authoriser's nor the other two."""
    names = ("SIDECAR_LISTEN", "SIDECAR_ADMIN", "SIDECAR_AUTHZ")
    env = {name: f"unix:{tmp_path / name}" for name in names}
    with running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar:
        assert all((tmp_path / name).is_socket() for name in names)
        assert sidecar.stop() == 0
    assert not any((tmp_path / name).exists() for name in names)


def test_its_responses_are_counted_with_the_proxys(tmp_path: Path) -> None:
    """Admitted, refused and unreadable questions, beside a response of the proxy."""
    with authorizing(tmp_path) as world:
        body = b'{"user_id": "ann", "session_id": "m1"}'
        assert ask(world.authz, "POST", f"/envoy{STORE}", JSON, body).status == 200
        assert ask(world.authz, "POST", f"/envoy{STORE}", JSON, b'{"session_id": "m1"}').status == 422
        assert ask(world.authz, "GET", "/nginx").status == 400
        assert ask(world.sidecar.addresses["listen"], "GET", "/health").status == 200
        page = httpx.get(f"{world.sidecar.url('admin')}/metrics", trust_env=False).text
    assert metric(page, "sidecar_responses_total", code="2xx") == 2
    assert metric(page, "sidecar_responses_total", code="4xx") == 2
