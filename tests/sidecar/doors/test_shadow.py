"""Shadow mode at the door: everything is forwarded at once, and what would have been said is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.cache.session_cache import SessionCache
from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.proxy import ForwardingApp
from sidecar.doors.shadow import ShadowMiddleware
from sidecar.extract.extractor import Extractor
from sidecar.guard.decisions import Allow, Policy
from sidecar.guard.shadow import ShadowGuard
from sidecar.model import Call, Extraction, Grounds, Reason, RefusalFormat
from sidecar.testing import FakeForwarder, FakeSessionService, FakeTelemetry
from tests.support.asgi import Request
from tests.support.reading import ISA, STORE

WRITE = {"user_id": "ann", "session_id": "s-1", "message_content": "x"}


class Stage:
    """A shadowing proxy over fakes."""

    def __init__(self, limit: int = 1000, budget: int = 10_000) -> None:
        self.service = FakeSessionService()
        self.telemetry = FakeTelemetry()
        self.forwarder = FakeForwarder()
        self.budget = BodyBudget(limit=limit, total=budget)
        self.shadow = ShadowGuard(SessionCache(100, 300), self.service, self.telemetry, Policy(timeout=2.0))
        self.proxy = ShadowMiddleware(
            ForwardingApp(self.forwarder),
            extractor=Extractor(ISA),
            guard=self.shadow,
            telemetry=self.telemetry,
            budget=self.budget,
        )

    async def serve(self, body: Any = WRITE, target: str = STORE, **more: Any) -> Request:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(target=target, pieces=(raw[:5], raw[5:]), **more)
        await self.proxy(request.scope, request.receive, request.send)
        await self.shadow.drained()
        return request


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.shadow.aclose()


async def test_a_write_is_forwarded_and_what_would_have_been_created_is_counted_and_not_created(stage: Stage) -> None:
    request = await stage.serve()
    assert request.status == 200
    assert stage.forwarder.forwarded == [(Allow(Grounds.PASSED), json.dumps(WRITE).encode())]
    assert stage.telemetry.decisions == [("shadow_created", None)]
    assert stage.service.sessions == {}
    assert [operation for operation, _ in stage.service.asked] == ["look"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no json", Reason.UNREADABLE_BODY),
        ({"session_id": "s-1"}, Reason.USER_ID_REQUIRED),
        ({"user_id": "ann", "session_id": "a b"}, Reason.INVALID_SESSION_ID),
    ],
)
async def test_what_would_have_been_refused_is_forwarded_and_counted(stage: Stage, body: Any, reason: Reason) -> None:
    await stage.serve(body)
    assert len(stage.forwarder.forwarded) == 1
    assert stage.telemetry.decisions == [("shadow_refused", reason)]


async def test_an_ambiguous_path_is_forwarded_and_counted(stage: Stage) -> None:
    await stage.serve(target="/api/v1/memories//x")
    assert len(stage.forwarder.forwarded) == 1
    assert stage.telemetry.decisions == [("shadow_refused", Reason.AMBIGUOUS_PATH)]


async def test_reads_pass_uncopied(stage: Stage) -> None:
    await stage.serve(method="GET")
    assert stage.telemetry.decisions == [("shadow_passed", None)]


async def test_a_body_too_large_to_read_is_forwarded_whole_and_counted() -> None:
    stage = Stage(limit=20)
    body = json.dumps(WRITE).encode()
    await stage.serve(body)
    assert stage.forwarder.forwarded == [(Allow(Grounds.PASSED), body)]
    assert stage.telemetry.decisions == [("shadow_refused", Reason.BODY_TOO_LARGE)]
    await stage.shadow.aclose()


async def test_a_body_for_which_there_is_no_room_is_forwarded_and_the_drop_counted() -> None:
    stage = Stage(limit=1000, budget=8)
    body = json.dumps(WRITE).encode()
    await stage.serve(body)
    assert stage.forwarder.forwarded == [(Allow(Grounds.PASSED), body)]
    assert stage.telemetry.notes == [("shadow_dropped",)]
    assert stage.budget.held == 0
    await stage.shadow.aclose()


async def test_the_answer_does_not_wait_for_the_session_service(stage: Stage) -> None:
    """The client has its answer before the session service has answered."""
    thought = asyncio.Event()

    async def think(operation: str, reference: object) -> None:
        await thought.wait()

    stage.service.before = think
    request = Request(target=STORE, pieces=(json.dumps(WRITE).encode(),))
    await stage.proxy(request.scope, request.receive, request.send)
    assert request.status == 200
    assert stage.telemetry.decisions == []
    thought.set()


async def test_the_fast_path_takes_only_what_would_be_passed(stage: Stage) -> None:
    assert stage.shadow.pass_through().grounds is Grounds.PASSED
    assert stage.shadow.permit_known(Extraction(RefusalFormat.REST, (Call(),))) is None
