"""Metrics after a mixed run, against what the test itself counted: nothing is lost, nothing counted twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
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
from tests.support.processes import running
from tests.support.servers import served

MEMORIES = "/api/v1/memories"
KINDS = ("new", "known", "found", "another's", "no user", "bad id", "read", "failing", "unguarded", "too slow")


def neighbours() -> Starlette:
    """A session service with one session of its own and one of another's, and a memory service that can fail."""
    owners = {f"found-{number}": "ada" for number in range(1_000)} | {"bobs": "bob"}

    async def session(request: Request) -> Response:
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

    async def silent(_request: Request) -> Response:
        await asyncio.sleep(30)
        return Response()

    return Starlette(
        routes=[
            Route("/api/v1/sessions/{id}", session, methods=["PUT"]),
            Route(STORE, store, methods=["POST"]),
            Route("/silent", silent),
            Route("/{rest:path}", lambda _request: JSONResponse({}), methods=["GET", "POST"]),
        ]
    )


class Truth:
    """What was sent and what came back."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.responses: Counter[str] = Counter()
        self.upstream_errors: Counter[str] = Counter()
        self.session_calls: Counter[tuple[str, str]] = Counter()
        self.unguarded = 0

    def expect(self, kind: str) -> None:
        """Count what a request of this kind must leave behind."""
        match kind:
            case "new":
                self.decisions["created", ""] += 1
                self.session_calls["ensure", "created"] += 1
            case "found":
                self.decisions["found", ""] += 1
                self.session_calls["ensure", "found"] += 1
            case "known" | "failing":
                self.decisions["known", ""] += 1
            case "another's":
                self.decisions["refused", "session_owned_by_another_user"] += 1
            case "no user":
                self.decisions["refused", "user_id_required"] += 1
            case "bad id":
                self.decisions["refused", "invalid_session_id"] += 1
            case _:
                self.decisions["passed", ""] += 1
        self.unguarded += kind == "unguarded"
        if kind == "too slow":
            self.upstream_errors["upstream_timeout"] += 1


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
        case "read":
            return http.get(MEMORIES)
        case "unguarded":
            return http.post("/elsewhere", json=body)
        case "too slow":
            return http.get("/silent")
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


@pytest.mark.parametrize("fast_path", ["true", "false"])
def test_every_figure_is_what_was_sent(tmp_path: Path, fast_path: str) -> None:
    """300 requests of ten kinds in a random order, eight at a time, on both ways through the sidecar."""
    draw = random.Random(7)
    kinds = draw.choices(KINDS, weights=(20, 30, 20, 10, 10, 5, 20, 10, 10, 2), k=300)
    truth = Truth()
    with served(neighbours()) as url:
        env = {
            "SIDECAR_LISTEN": "127.0.0.1:0",
            "SIDECAR_ADMIN": "127.0.0.1:0",
            "SIDECAR_UPSTREAM": url,
            "SIDECAR_SESSION_SERVICE": url,
            "SIDECAR_UPSTREAM_TIMEOUT": "3s",
            "SIDECAR_SESSION_TIMEOUT": "30s",
            "SIDECAR_FAST_LANE": fast_path,
        }
        with (
            running("sidecar", "serve", role="sidecar", env=env, cwd=tmp_path) as sidecar,
            httpx.Client(base_url=sidecar.url(), trust_env=False, timeout=60) as http,
        ):
            truth.expect("new")
            first = http.post(STORE, json={"user_id": "ada", "session_id": "known", "message_content": "Hello"})
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda numbered: send(http, numbered[1], numbered[0]), enumerate(kinds)))
            metrics = httpx.get(sidecar.url("admin") + "/metrics", trust_env=False, timeout=60).text
            shown = httpx.get(sidecar.url("admin") + "/dashboard.json", trust_env=False, timeout=60).json()
    for kind in kinds:
        truth.expect(kind)
    truth.responses = Counter(f"{answer.status_code // 100}xx" for answer in [first, *answers])
    assert samples(metrics, "sidecar_requests_total") == dict(truth.decisions)
    assert samples(metrics, "sidecar_responses_total") == one(truth.responses)
    assert samples(metrics, "sidecar_upstream_errors_total") == one(truth.upstream_errors)
    assert samples(metrics, "sidecar_unguarded_session_writes_total") == {(): truth.unguarded}
    created = truth.decisions["created", ""]
    assert samples(metrics, "sidecar_orphan_writes_prevented_total") == {(): created}
    calls = samples(metrics, "sidecar_session_calls_total")
    assert calls[("ensure", "created")] == created
    assert calls[("ensure", "found")] == truth.session_calls["ensure", "found"]
    assert sum(calls.values()) == samples(metrics, "sidecar_session_call_seconds_count")[()]
    refused = sum(count for (decision, _), count in truth.decisions.items() if decision == "refused")
    forwarded = 1 + len(kinds) - refused
    assert samples(metrics, "sidecar_overhead_seconds_count") == {(): forwarded}
    assert samples(metrics, "sidecar_upstream_seconds_count") == {(): forwarded - truth.upstream_errors.total()}
    assert shown["prevented"] == created
    assert sum(problem["count"] for problem in shown["problems"]) == (
        refused + truth.upstream_errors.total() + truth.unguarded
    )
