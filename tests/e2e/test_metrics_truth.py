"""Metrics after a mixed run, against what the test itself counted: nothing is lost, nothing counted twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.platform import STORE
from tests.support.processes import Running, wait_until
from tests.support.servers import served
from tests.support.ways import WAYS, Way, sidecar_before

MEMORIES = "/api/v1/memories"
WEIGHTS = {
    "new": 20,
    "known": 30,
    "found": 20,
    "another's": 10,
    "no user": 10,
    "bad id": 5,
    "read": 20,
    "failing": 10,
    "unguarded": 10,
    "batch": 10,
    "refused batch": 10,
    "too slow": 2,
}

DECISIONS = {
    "new": [("created", "")],
    "found": [("found", "")],
    "known": [("known", "")],
    "failing": [("known", "")],
    "another's": [("refused", "session_owned_by_another_user")],
    "no user": [("refused", "user_id_required")],
    "bad id": [("refused", "invalid_session_id")],
    "batch": [("created", ""), ("known", ""), ("passed", "")],
    "refused batch": [("refused", "session_owned_by_another_user"), ("refused", "batch_refused")],
}


def neighbours(**more: str) -> Starlette:
    """A session service with sessions of ada's and one of another's, and a memory service that can fail."""
    owners = {f"found-{number}": "ada" for number in range(1_000)} | {"bobs": "bob"} | more

    async def look(request: Request) -> Response:
        session_id = request.path_params["id"]
        if session_id not in owners:
            return JSONResponse({"reason": "session_not_found"}, 404)
        return JSONResponse({"session_id": session_id, "user_id": owners[session_id], "status": "active"})

    async def session(request: Request) -> Response:
        if request.method == "GET":
            return await look(request)
        session_id, user_id = request.path_params["id"], (await request.json())["user_id"]
        is_new = session_id not in owners
        owner = owners.setdefault(session_id, user_id)
        if owner != user_id:
            return JSONResponse({"reason": "conflict"}, 409)
        found = {"session_id": session_id, "user_id": owner, "status": "active"}
        return JSONResponse(found, 201 if is_new else 200)

    async def store(request: Request) -> Response:
        body = await request.json()
        return JSONResponse({"success": True}, 500 if body["message_content"] == "fail" else 200)

    async def rest(request: Request) -> Response:
        # An answer that came before the body would end the request before its body was looked at.
        await request.body()
        return JSONResponse({})

    async def silent(_request: Request) -> Response:
        await asyncio.sleep(30)
        return Response()

    return Starlette(
        routes=[
            Route("/api/v1/sessions/{id}", session, methods=["GET", "PUT"]),
            Route(STORE, store, methods=["POST"]),
            Route("/silent", silent),
            Route("/{rest:path}", rest, methods=["GET", "POST"]),
        ]
    )


class Truth:
    """What was sent and what came back. `prefix` stands before each decision, as in shadow mode."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.responses: Counter[str] = Counter()
        self.upstream_errors: Counter[str] = Counter()
        self.session_calls: Counter[tuple[str, str]] = Counter()
        self.unguarded = 0

    def expect(self, kind: str) -> None:
        """Count what a request of this kind must leave behind."""
        for decision, reason in decisions_of(kind):
            self.decisions[self._prefix + decision, reason] += 1
        self.unguarded += kind == "unguarded"
        if kind == "too slow":
            self.upstream_errors["upstream_timeout"] += 1

    def count(self, decision: str) -> int:
        """How many calls were decided so, for any reason."""
        return sum(count for (name, _), count in self.decisions.items() if name == self._prefix + decision)


def decisions_of(kind: str) -> list[tuple[str, str]]:
    """The decision of each call of a request, with its reason."""
    return DECISIONS.get(kind, [("passed", "")])


def call(tool: str, session_id: str) -> dict[str, Any]:
    """One MCP call."""
    arguments = {"user_id": "ada", "session_id": session_id, "message_content": "Hello"}
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": session_id, "method": "tools/call", "params": params}


def batch(kind: str, number: int) -> list[dict[str, Any]]:
    """An MCP batch of the kind."""
    if kind == "refused batch":
        return [call("store_session_message", "known"), call("store_session_message", "bobs")]
    new = call("store_session_message", f"batch-{number}")
    return [new, call("store_session_message", "known"), call("get_session_context", "unknown")]


def send(http: httpx.Client, kind: str, number: int) -> httpx.Response:
    body: dict[str, Any] = {"user_id": "ada", "session_id": "known", "message_content": "Hello"}
    match kind:
        case "new":
            body["session_id"] = f"new-{number}"
        case "found":
            body["session_id"] = f"found-{number}"
        case "another's":
            body["session_id"] = "bobs"
        case "no user":
            del body["user_id"]
        case "bad id":
            body["session_id"] = "a b"
        case "failing":
            body["message_content"] = "fail"
        case "batch" | "refused batch":
            return http.post("/mcp", json=batch(kind, number), headers={"Accept": "application/json"})
        case "read" | "too slow":
            return http.get(MEMORIES if kind == "read" else "/silent")
        case "unguarded":
            return http.post("/elsewhere", json=body)
    return http.post(STORE, json=body)


def samples(exposition: str, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by the values of its labels, in the order of their names; zeros left out."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == name and sample.value
    }


def one(counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(label,): float(count) for label, count in counts.items()}


@contextlib.contextmanager
def neighboured(
    url: str, folder: Path, way: Way = Way.FAST_PATH, **settings: str
) -> Iterator[tuple[Running, httpx.Client]]:
    """A sidecar in front of the neighbours, and a client of it."""
    env = {
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN": "127.0.0.1:0",
        "SIDECAR_SESSION_SERVICE": url,
        "SIDECAR_UPSTREAM_TIMEOUT": "2s",
        "SIDECAR_SESSION_TIMEOUT": "30s",
        **settings,
    }
    with (
        sidecar_before(way, url, env=env, cwd=folder) as sidecar,
        httpx.Client(base_url=sidecar.url(), trust_env=False, timeout=60) as http,
    ):
        yield sidecar, http


def drawn() -> list[str]:
    """The kinds of 300 requests, in an order that is random and always the same."""
    return random.Random(7).choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=300)


def send_all(http: httpx.Client, kinds: list[str]) -> list[httpx.Response]:
    """Send a request of each kind, eight at a time."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda numbered: send(http, numbered[1], numbered[0]), enumerate(kinds)))


def read(sidecar: Running, path: str) -> httpx.Response:
    return httpx.get(sidecar.url("admin") + path, trust_env=False, timeout=60)


def by_class(answers: list[httpx.Response]) -> dict[tuple[str, ...], float]:
    return one(Counter(f"{answer.status_code // 100}xx" for answer in answers))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_figure_is_what_was_sent(tmp_path: Path, way: Way) -> None:
    """300 requests of twelve kinds in a random order, eight at a time, on all ways through the sidecar."""
    # Without an upstream there is no time-out of it, and no time that it took.
    has_upstream = way is not Way.WRAP
    kinds = [kind for kind in drawn() if has_upstream or kind != "too slow"]
    truth = Truth()
    with served(neighbours()) as url, neighboured(url, tmp_path, way) as (sidecar, http):
        truth.expect("new")
        first = http.post(STORE, json={"user_id": "ada", "session_id": "known", "message_content": "Hello"})
        answers = send_all(http, kinds)
        metrics, shown = read(sidecar, "/metrics").text, read(sidecar, "/dashboard.json").json()
    for kind in kinds:
        truth.expect(kind)
    assert samples(metrics, "sidecar_requests_total") == dict(truth.decisions)
    assert samples(metrics, "sidecar_responses_total") == by_class([first, *answers])
    assert samples(metrics, "sidecar_upstream_errors_total") == one(truth.upstream_errors)
    assert samples(metrics, "sidecar_unguarded_session_writes_total") == {(): truth.unguarded}
    created = truth.count("created")
    assert samples(metrics, "sidecar_orphan_writes_prevented_total") == {(): created}
    calls = samples(metrics, "sidecar_session_calls_total")
    assert calls[("ensure", "created")] == created
    assert calls[("ensure", "found")] == truth.count("found")
    assert sum(calls.values()) == samples(metrics, "sidecar_session_call_seconds_count")[()]
    refused = sum(decisions_of(kind)[0][0] == "refused" for kind in kinds)
    forwarded = 1 + len(kinds) - refused
    timed = forwarded if has_upstream else 0
    assert sum(samples(metrics, "sidecar_overhead_seconds_count").values()) == timed
    assert sum(samples(metrics, "sidecar_upstream_seconds_count").values()) == timed - truth.upstream_errors.total()
    assert shown["prevented"] == created
    assert sum(problem["count"] for problem in shown["problems"]) == (
        truth.count("refused") + truth.upstream_errors.total() + truth.unguarded
    )


def test_shadow_mode_counts_what_would_have_been_decided_and_forwards_everything(tmp_path: Path) -> None:
    """The same requests: each is forwarded, no session is made, and each decision is what enforcing would give."""
    kinds = drawn()
    truth = Truth("shadow_")
    for kind in ["found", *kinds]:
        truth.expect(kind)
    mode = {"SIDECAR_MODE": "shadow"}
    with served(neighbours(known="ada")) as url, neighboured(url, tmp_path, **mode) as (sidecar, http):

        def decided() -> dict[tuple[str, ...], float]:
            return samples(read(sidecar, "/metrics").text, "sidecar_requests_total")

        first = send(http, "known", 0)
        wait_until(lambda: decided() == {("shadow_found", ""): 1}, "the first decision")
        answers = send_all(http, kinds)
        wait_until(lambda: sum(decided().values()) == truth.decisions.total(), "all decisions")
        metrics = read(sidecar, "/metrics").text
    assert samples(metrics, "sidecar_requests_total") == dict(truth.decisions)
    assert samples(metrics, "sidecar_responses_total") == by_class([first, *answers])
    reasons = Counter(answer.headers["x-sidecar-reason"] for answer in answers if "x-sidecar-reason" in answer.headers)
    assert reasons == truth.upstream_errors
    assert samples(metrics, "sidecar_upstream_errors_total") == one(truth.upstream_errors)
    assert samples(metrics, "sidecar_overhead_seconds_count") == {(): 1 + len(kinds)}
    assert samples(metrics, "sidecar_unguarded_session_writes_total") == {(): truth.unguarded}
    assert samples(metrics, "sidecar_orphan_writes_prevented_total") == {}
    assert samples(metrics, "sidecar_shadow_dropped_total") == {}
    calls = samples(metrics, "sidecar_session_calls_total")
    assert {operation for operation, _ in calls} == {"look"}
    assert sum(calls.values()) == samples(metrics, "sidecar_session_call_seconds_count")[()]
