"""The proxy application: what it reads, whom it asks, and what it does with the answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.middleware import EnforceMiddleware, GuardMiddleware
from sidecar.doors.proxy import ForwardingApp, proxy_app
from sidecar.extract.extractor import Extractor, NothingGuarded
from sidecar.guard.decisions import Allow
from sidecar.guard.guard import OpenGuard
from sidecar.guard.verdicts import Unknown
from sidecar.http.client.response import UpstreamError
from sidecar.model import Grounds, Reason, Session, SessionStatus
from sidecar.testing import FakeForwarder, FakeTelemetry
from tests.support.asgi import Request
from tests.support.guard import House, always
from tests.support.reading import ISA, STORE

WRITE = {"user_id": "ann", "session_id": "s-1", "message_content": "x"}


class Stage(House):
    """An enforcing proxy over a guard over fakes."""

    def __init__(self, limit: int = 1000, budget: int = 10_000) -> None:
        super().__init__()
        self.forwarder = FakeForwarder()
        self.budget = BodyBudget(limit=limit, total=budget)
        self.proxy = EnforceMiddleware(
            ForwardingApp(self.forwarder),
            extractor=Extractor(ISA),
            guard=self.guard,
            budget=self.budget,
            telemetry=self.telemetry,
        )

    def know(self) -> None:
        """Let the session of `WRITE` be known as its user's."""
        self.known.remember("s-1", Session("ann", SessionStatus.ACTIVE), self.known.ticket())

    async def serve(self, request: Request) -> Request:
        await self.proxy(request.scope, request.receive, request.send)
        return request


def reason_given(request: Request) -> str:
    """Why a request was refused, as REST or as JSON-RPC says it."""
    answer = request.json["error"]["data"] if "error" in request.json else request.json
    reason: str = answer["reason"]
    return reason


def write(body: Any = WRITE, target: str = STORE, **more: Any) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(target=target, pieces=(raw,), **more)


def call(**arguments: str) -> Request:
    params = {"name": "store_session_message", "arguments": arguments}
    return write({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}, "/mcp")


async def test_a_write_for_a_missing_session_is_forwarded_once_the_session_exists() -> None:
    stage = Stage()
    await stage.serve(write())
    assert stage.service.sessions["s-1"].owner == "ann"
    assert stage.forwarder.forwarded == [(Allow(Grounds.CREATED), json.dumps(WRITE).encode())]


async def test_a_body_in_pieces_is_forwarded_whole() -> None:
    stage = Stage()
    raw = json.dumps(WRITE).encode()
    await stage.serve(Request(target=STORE, pieces=(raw[:7], raw[7:20], raw[20:])))
    assert stage.forwarder.forwarded == [(Allow(Grounds.CREATED), raw)]


async def test_a_compressed_body_is_read_decoded_and_forwarded_as_it_came() -> None:
    stage = Stage()
    raw = gzip.compress(json.dumps(WRITE).encode())
    await stage.serve(Request(target=STORE, pieces=(raw,), headers=[("Content-Encoding", "gzip")]))
    assert "s-1" in stage.service.sessions
    assert stage.forwarder.forwarded == [(Allow(Grounds.CREATED), raw)]


async def test_the_second_write_asks_nobody() -> None:
    stage = Stage()
    await stage.serve(write())
    asked = len(stage.service.asked)
    await stage.serve(write())
    assert len(stage.service.asked) == asked
    assert stage.forwarder.forwarded[-1][0] == Allow(Grounds.KNOWN)


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "OPTIONS"])
async def test_what_is_not_looked_at_is_forwarded_without_a_question(method: str) -> None:
    stage = Stage()
    await stage.serve(Request(method=method, target=f"{STORE}?session_id=s-1"))
    assert stage.forwarder.forwarded == [(Allow(Grounds.PASSED), b"")]
    assert stage.service.asked == []


async def test_a_refused_write_is_not_forwarded() -> None:
    stage = Stage()
    stage.service.add("s-1", "bob")
    request = await stage.serve(write())
    assert (request.status, request.json["reason"]) == (403, "session_owned_by_another_user")
    assert stage.forwarder.forwarded == []


async def test_a_refused_call_is_answered_with_its_id() -> None:
    stage = Stage()
    stage.service.add("s-1", "bob")
    request = await stage.serve(call(user_id="ann", session_id="s-1"))
    assert (request.status, request.json["id"]) == (200, 7)
    assert request.json["error"]["data"]["reason"] == "session_owned_by_another_user"
    assert stage.forwarder.forwarded == []


async def test_a_path_with_two_readings_is_refused_before_its_body_is_read() -> None:
    stage = Stage()
    request = await stage.serve(write(target="/api/v1/memories/session%2Fstore"))
    assert (request.status, request.json["reason"], request.asked) == (400, "ambiguous_path", 0)


async def test_a_body_declared_too_large_is_refused_before_it_is_read() -> None:
    stage = Stage(limit=10)
    request = await stage.serve(write(headers=[("Content-Length", "11")]))
    assert (request.status, request.json["reason"], request.asked) == (413, "body_too_large", 0)
    assert stage.telemetry.decisions == [("refused", Reason.BODY_TOO_LARGE)]


async def test_a_body_that_grows_too_large_is_refused_and_not_forwarded() -> None:
    stage = Stage(limit=10)
    request = await stage.serve(Request(target=STORE, pieces=(b"x" * 6, b"x" * 6)))
    assert (request.status, stage.forwarder.forwarded) == (413, [])


async def test_an_mcp_body_too_large_has_its_status_and_no_id() -> None:
    stage = Stage(limit=10)
    request = await stage.serve(call(user_id="ann", session_id="s-1"))
    assert (request.status, request.json["id"], request.json["error"]["code"]) == (413, None, -31040)


async def test_bodies_beyond_what_may_be_held_are_refused_for_now() -> None:
    stage = Stage(limit=1000, budget=20)
    request = await stage.serve(write())
    assert (request.status, request.json["reason"]) == (503, "overloaded")
    assert int(request.response_headers[b"retry-after"]) >= 1


async def test_every_body_is_let_go_in_the_end() -> None:
    stage = Stage()
    stage.service.add("s-2", "bob")
    await stage.serve(write())
    await stage.serve(write(WRITE | {"session_id": "s-2"}))
    await stage.serve(write(b"no json"))
    assert stage.budget.held == 0


async def test_a_client_that_goes_away_while_sending_leaves_no_trace() -> None:
    stage = Stage()
    raw = json.dumps(WRITE).encode()
    request = await stage.serve(Request(target=STORE, pieces=(raw,), complete=False))
    assert request.sent == []
    assert (stage.forwarder.forwarded, stage.service.asked, stage.budget.held) == ([], [], 0)


@pytest.mark.parametrize(
    ("reason", "status"), [(Reason.UPSTREAM_UNAVAILABLE, 502), (Reason.UPSTREAM_TIMEOUT, 504), (Reason.OVERLOADED, 503)]
)
async def test_where_the_memory_service_does_not_answer_the_client_is_told(reason: Reason, status: int) -> None:
    stage = Stage()
    stage.forwarder.failure = UpstreamError(reason, "It did not answer.", 1)
    for request in (write(), Request(method="GET", target="/health")):
        await stage.serve(request)
        assert (request.status, request.json["reason"]) == (status, reason.value)
    asked = await stage.serve(call(user_id="ann", session_id="s-1"))
    assert (asked.status, asked.json["id"], asked.json["error"]["data"]["reason"]) == (200, 7, reason.value)


NOTIFICATION = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESPONSE = {"jsonrpc": "2.0", "id": 1, "result": {}}


@pytest.mark.parametrize("message", [NOTIFICATION, RESPONSE, [NOTIFICATION, RESPONSE], []], ids=str)
async def test_a_message_that_expects_no_answer_has_not_arrived_where_the_memory_service_is_down(message: Any) -> None:
    """202 would say that it has."""
    stage = Stage()
    stage.forwarder.failure = UpstreamError(Reason.UPSTREAM_UNAVAILABLE, "It did not answer.")
    request = await stage.serve(write(message, "/mcp"))
    assert (request.status, request.json["id"]) == (502, None)
    assert reason_given(request) == "upstream_unavailable"


WAITING = {
    "plain": write,
    "a call": lambda: call(user_id="ann", session_id="s-1"),
    "not plain": lambda: write(target=f"{STORE}?user_id=ann"),
    "compressed": lambda: write(gzip.compress(json.dumps(WRITE).encode()), headers=[("Content-Encoding", "gzip")]),
    "in the path": lambda: write({}, "/api/v1/memories/session/s-1/summarize?user_id=ann"),
}


@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
async def test_a_write_whose_session_was_deleted_while_it_waited_is_not_forwarded(make: Callable[[], Request]) -> None:
    stage = Stage()
    stage.know()
    stage.forwarder.wait = lambda: stage.known.deleted("s-1")
    request = await stage.serve(make())
    assert reason_given(request) == "session_gone"
    assert (stage.forwarder.forwarded, stage.service.asked, stage.budget.held) == ([], [], 0)


@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
async def test_a_write_that_waited_while_nothing_changed_goes_on(make: Callable[[], Request]) -> None:
    stage = Stage()
    stage.forwarder.wait = lambda: None
    request = await stage.serve(make())
    assert (request.status, len(stage.service.asked)) == (200, 1)
    assert [admit.grounds for admit, _ in stage.forwarder.forwarded] == [Grounds.CREATED]


@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
async def test_a_write_whose_session_was_forgotten_while_it_waited_is_asked_about(make: Callable[[], Request]) -> None:
    stage = Stage()
    stage.service.add("s-1", "ann")
    stage.know()
    waits = iter(range(2))
    stage.forwarder.wait = lambda: None if next(waits) else stage.known.forget_all()
    request = await stage.serve(make())
    assert (request.status, len(stage.service.asked)) == (200, 1)
    assert [admit.grounds for admit, _ in stage.forwarder.forwarded] == [Grounds.FOUND]


@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
async def test_a_write_that_can_never_be_sent_in_time_is_refused_for_now(make: Callable[[], Request]) -> None:
    """It is decided three times, and the refusal is counted as any other."""
    stage = Stage()
    stage.forwarder.wait = stage.known.forget_all
    request = await stage.serve(make())
    assert reason_given(request) == "overloaded"
    assert (len(stage.service.asked), stage.telemetry.decisions[-1]) == (3, ("refused", Reason.OVERLOADED))
    assert stage.forwarder.forwarded == []


async def test_while_nobody_can_say_the_write_is_refused_with_a_time_to_retry() -> None:
    stage = Stage()
    stage.service.before = always(Unknown("it is down"))
    request = await stage.serve(write())
    assert (request.status, request.json["reason"]) == (503, "session_service_unavailable")
    assert int(request.response_headers[b"retry-after"]) >= 1


async def test_every_path_belongs_to_the_memory_service() -> None:
    """Each path is forwarded, those that Starlette's routes would miss included."""
    stage = Stage()
    app = proxy_app(stage.forwarder, lambda _app: stage.proxy)
    for target in ("*", "/", "/a\nb", "/docs", "/metrics", "//", "/%0a"):
        request = Request(method="OPTIONS", target=target)
        await app(request.scope | {"path": target, "root_path": ""}, request.receive, request.send)
        assert request.status == 200
    assert len(stage.forwarder.forwarded) == 7


async def test_switched_off_it_forwards_everything_and_looks_at_nothing() -> None:
    forwarder, telemetry = FakeForwarder(), FakeTelemetry()
    request = write(b"no json")
    app = GuardMiddleware(ForwardingApp(forwarder), extractor=NothingGuarded(), guard=OpenGuard(telemetry))
    await app(request.scope, request.receive, request.send)
    assert forwarder.forwarded == [(Allow(Grounds.PASSED), b"no json")]
    assert telemetry.decisions == [("passed", None)]
