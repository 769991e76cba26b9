"""The authoriser, asked as each proxy asks: the table of decisions, and questions that cannot be read."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.doors.refusal import STATUS
from sidecar.model import Reason
from tests.doors.cases import BY_HEAD, CASES, STORE, Case
from tests.support.authorizing import Answer, Fields, World, ask, authorizing
from tests.support.processes import wait_until

# What is refused because a question without a body leaves open whether the request has one.
UNTOLD = {"a write without a body"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with authorizing(tmp_path_factory.mktemp("authorizing")) as running:
        yield running


def by_envoy(world: World, case: Case, *more: tuple[str, str]) -> Answer:
    return ask(
        world.authz, case.method, f"/envoy{case.target}", [*case.headers, *more], case.body, chunked=case.chunked
    )


def by_traefik(world: World, case: Case) -> Answer:
    original = [("X-Forwarded-Method", case.method), ("X-Forwarded-Uri", case.target)]
    return ask(world.authz, "GET", "/forward", [*original, *case.headers], case.body, chunked=case.chunked)


def by_nginx(world: World, case: Case) -> Answer:
    length = "unknown" if case.body else "0"
    original = [
        ("X-Original-Method", case.method),
        ("X-Original-URI", case.target),
        ("X-Original-Content-Length", length),
    ]
    return ask(world.authz, "GET", "/nginx", [*original, *case.headers])


def by_caddy(world: World, case: Case) -> Answer:
    length = "unknown" if case.body else "0"
    original = [
        ("X-Forwarded-Method", case.method),
        ("X-Forwarded-Uri", case.target),
        ("X-Forwarded-Content-Length", length),
    ]
    return ask(world.authz, "GET", "/forward?left=over", [*original, *case.headers])


def status_of(case: Case) -> int:
    """What the authoriser answers: a status below 300 would admit."""
    if case.reason is None:
        return 200
    return STATUS[Reason(case.reason)] if case.status < 300 else case.status


def check(world: World, case: Case, answer: Answer, before: set[tuple[str, str]]) -> None:
    """The answer is the case's, its sessions exist, and no others have come."""
    assert (answer.status, answer.reason) == (status_of(case), case.reason), answer.body
    after = world.all_sessions()
    assert set(case.creates) <= after
    assert after - before <= set(case.creates)


def check_unseen(world: World, answer: Answer, before: set[tuple[str, str]]) -> None:
    """The request is refused because its body was not shown."""
    assert (answer.status, answer.reason) == (400, "unreadable_body")
    assert b"the proxy in front asked without the body" in answer.body
    assert world.all_sessions() == before


@pytest.mark.parametrize("case", CASES, ids=str)
def test_envoy_and_traefik_are_answered_as_the_proxy_decides(world: World, case: Case) -> None:
    """Both ask with the body. A question without one could come from a proxy that keeps bodies to itself."""
    world.prepare(case)
    before = world.all_sessions()
    for answer in (by_envoy(world, case), by_traefik(world, case)):
        if case.name in UNTOLD:
            check_unseen(world, answer, before)
        else:
            check(world, case, answer, before)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nginx_and_caddy_are_answered_by_the_head_alone(world: World, case: Case) -> None:
    """Neither sends a body, so what needs one is refused, and no session is created for it."""
    world.prepare(case)
    before = world.all_sessions()
    for answer in (by_nginx(world, case), by_caddy(world, case)):
        if not case.body or case.name in BY_HEAD or case.method not in ("POST", "PUT", "PATCH"):
            check(world, case, answer, before)
        else:
            check_unseen(world, answer, before)


GOOD = {"X-Original-Method": "POST", "X-Original-URI": "/api/v1/memories/session/q-1/summarize?user_id=ann"}
FORWARDED = {name.replace("Original", "Forwarded").replace("URI", "Uri"): value for name, value in GOOD.items()}


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/nginx", []),
        ("/nginx", [("X-Original-Method", "POST")]),
        ("/nginx", [("X-Original-URI", "/health")]),
        ("/nginx", [*GOOD.items(), ("X-Original-Method", "GET")]),
        ("/nginx", [*GOOD.items(), ("X-Original-URI", "/health")]),
        ("/nginx", [*GOOD.items(), ("X-Original-Content-Length", "0"), ("X-Original-Content-Length", "0")]),
        ("/nginx", [("X-Original-Method", "PO ST"), ("X-Original-URI", "/health")]),
        ("/nginx", [("X-Original-Method", "GET"), ("X-Original-URI", "/a b")]),
        ("/nginx", [("X-Original-Method", "GET"), ("X-Original-URI", "")]),
        ("/nginx", [*FORWARDED.items()]),
        ("/forward", []),
        ("/forward", [*GOOD.items()]),
        ("/forward", [*FORWARDED.items(), ("X-Forwarded-Uri", "/health")]),
        ("/forward", [*FORWARDED.items(), ("x-forwarded-method", "GET")]),
        ("/envoy/health", [("x-envoy-auth-partial-body", "false"), ("x-envoy-auth-partial-body", "false")]),
    ],
)
def test_a_question_that_does_not_name_its_request_once_is_refused(world: World, target: str, fields: Fields) -> None:
    answer = ask(world.authz, "GET", target, fields)
    assert answer.status == 400
    assert b"question" in answer.body


@pytest.mark.parametrize("target", ["/nginx", "/elsewhere"])
def test_a_refused_question_names_its_request_once(world: World, target: str) -> None:
    """A question that is not read further is answered with one X-Request-ID field, and with one of its own."""
    seen = set()
    for _ in range(2):
        with contextlib.closing(http.client.HTTPConnection(world.authz, timeout=45)) as connection:
            connection.request("GET", target)
            (request_id,) = connection.getresponse().headers.get_all("X-Request-ID", [])
            seen.add(request_id)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "target", ["/", "/health", "/nginx/", "/nginx/a", "/nginxx", "/forward/a", "/envoy", "/%65nvoy/health"]
)
def test_a_path_that_is_no_proxys_is_refused(world: World, target: str) -> None:
    assert ask(world.authz, "GET", target, [*GOOD.items(), *FORWARDED.items()]).status == 404


def test_fields_of_another_proxy_are_not_believed(world: World) -> None:
    """A client writes `X-Original-*` and `X-Forwarded-*` into a request that Envoy asks about."""
    forged = [(name, "GET" if "Method" in name else "/health") for name in (*GOOD, *FORWARDED)]
    answer = ask(world.authz, "POST", f"/envoy{STORE}", forged, b'{"session_id": "q-2"}')
    assert answer.reason == "user_id_required"


def test_a_path_that_begins_with_another_proxys_prefix_stays_envoys(world: World) -> None:
    """Envoy puts its prefix in front, so such a path is the memory service's own."""
    assert ask(world.authz, "POST", "/envoy/nginx", [], b"{}").status == 200
    answer = ask(world.authz, "POST", f"/envoy/nginx/..{STORE}", [], b'{"session_id": "q-3", "user_id": "ann"}')
    assert answer.reason == "ambiguous_path"


def test_a_body_that_envoy_cut_is_refused(world: World) -> None:
    before = world.all_sessions()
    body = b'{"user_id": "ann", "session_id": "q-4"}'
    answer = ask(world.authz, "POST", f"/envoy{STORE}", [("x-envoy-auth-partial-body", "true")], body)
    assert (answer.status, answer.reason) == (413, "body_too_large")
    assert world.all_sessions() == before


def test_a_request_without_a_word_about_its_body_is_decided_by_the_ids_in_its_head(world: World) -> None:
    answer = ask(world.authz, "GET", "/nginx", [*GOOD.items()])
    assert answer.status == 200
    assert ("q-1", "ann") in world.all_sessions()


def test_nginx_gets_the_body_of_a_refusal_in_a_field(world: World) -> None:
    """`auth_request` takes fields of an answer, and no body."""
    fields = [("X-Original-Method", "POST"), ("X-Original-URI", "/api/v1/memories/session/q-5/summarize")]
    answer = ask(world.authz, "GET", "/nginx", fields)
    assert answer.reason == "user_id_required"
    assert answer.fields["x-sidecar-refusal"].encode() == answer.body


def test_an_authoriser_in_mode_shadow_admits_all(tmp_path: Path) -> None:
    with authorizing(tmp_path, SIDECAR_MODE="shadow") as world:
        answer = ask(world.authz, "POST", f"/envoy{STORE}", [], b'{"session_id": "q-6"}')
        assert answer.status == 200
        assert ask(world.authz, "GET", "/nginx", [*GOOD.items()]).status == 200
        assert world.all_sessions() == set()


def test_without_the_setting_there_is_no_authoriser(tmp_path: Path) -> None:
    with authorizing(tmp_path, SIDECAR_AUTHZ="") as world:
        assert set(world.sidecar.addresses) == {"listen", "admin"}


def test_a_question_whose_body_is_on_its_way_is_answered_while_the_sidecar_stops(tmp_path: Path) -> None:
    body = b'{"user_id": "ann", "session_id": "q-7"}'
    head = f"POST /envoy{STORE} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with authorizing(tmp_path) as world:
        host, _, port = world.authz.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(head + body[:9])
            # The answer to another question shows that the head before it has been read.
            assert ask(world.authz, "GET", "/envoy/health").status == 200
            world.sidecar.process.send_signal(signal.SIGTERM)
            wait_until(lambda: any("stopping" in line for line in world.sidecar.stderr), "the sidecar to stop")
            connection.sendall(body[9:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert world.sidecar.wait() == 0
        assert world.all_sessions() == {("q-7", "ann")}
