"""A REST write to several sessions: all of it is forwarded, or none, and the refusal is REST."""

from __future__ import annotations

import json

import pytest

from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.middleware import EnforceMiddleware
from sidecar.doors.proxy import ForwardingApp
from sidecar.extract.extractor import Extractor
from sidecar.model import Session, SessionStatus
from sidecar.profile.loading import find_profile
from sidecar.testing import FakeForwarder
from tests.support.asgi import Request
from tests.support.guard import House


class Stage(House):
    """An enforcing proxy by the profile of a server that takes many memories in one write."""

    def __init__(self) -> None:
        super().__init__()
        self.forwarder = FakeForwarder()
        self.proxy = EnforceMiddleware(
            ForwardingApp(self.forwarder),
            extractor=Extractor(find_profile("agent-memory-server")),
            guard=self.guard,
            budget=BodyBudget(limit=10_000, total=10_000),
            telemetry=self.telemetry,
        )

    async def write(self, *sessions: str) -> Request:
        body = {"memories": [{"session_id": one, "user_id": "ann"} for one in sessions]}
        request = Request(target="/v1/long-term-memory/", pieces=(json.dumps(body).encode(),))
        await self.proxy(request.scope, request.receive, request.send)
        return request


async def test_every_session_exists_before_the_write_is_forwarded() -> None:
    stage = Stage()
    assert (await stage.write("s-1", "s-2", "s-3")).status == 200
    assert set(stage.service.sessions) == {"s-1", "s-2", "s-3"}
    assert len(stage.forwarder.forwarded) == 1


@pytest.mark.parametrize("known", [False, True])
async def test_one_refusal_refuses_the_write_and_creates_nothing(known: bool) -> None:
    stage = Stage()
    stage.service.add("s-2", "bob")
    if known:
        stage.known.remember("s-2", Session("bob", SessionStatus.ACTIVE), stage.known.ticket())
    request = await stage.write("s-1", "s-2", "s-3")
    assert request.status == 403
    assert request.json["reason"] == "session_owned_by_another_user"
    assert request.json["session_id"] == "s-2"
    assert request.response_headers[b"x-sidecar-reason"] == b"session_owned_by_another_user"
    assert set(stage.service.sessions) == {"s-2"}
    assert stage.forwarder.forwarded == []


async def test_known_sessions_need_no_question() -> None:
    stage = Stage()
    await stage.write("s-1", "s-2")
    stage.service.asked.clear()
    assert (await stage.write("s-2", "s-1")).status == 200
    assert stage.service.asked == []
