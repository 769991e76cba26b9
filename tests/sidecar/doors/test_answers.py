"""Rules that act on answers: what is created and sent again, and what passes as the upstream wrote it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from sidecar.cache.session_cache import SessionCache
from sidecar.doors.answers import MAX_ANSWER, AnswerMiddleware
from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.extract.extractor import Extractor
from sidecar.guard.recovery import Recovery
from sidecar.guard.verdicts import Conflict, Found, Unknown, Untrustworthy, Verdict
from sidecar.http.client.response import UpstreamError
from sidecar.model import Reason, Reference, Session, SessionStatus
from sidecar.profile.loading import load_profile
from sidecar.testing import FakeSessionService, FakeTelemetry
from tests.support.asgi import Request
from tests.support.eventually import eventually

PROFILE = load_profile("""
name = "recovering"
prefixes = ["/run", "/sessions", "/mcp-like"]
mcp = ["/mcp"]
owner = "required"

[ids.session_id]
json = ["session"]
query = ["session"]

[ids.user_id]
json = ["user"]
query = ["user"]

[[rules]]
kind = "recover"
methods = ["POST"]
paths = ["/run"]
says_missing = { status = 404, at = "/detail", contains = "no session {session_id}" }

[[rules]]
kind = "forget"
paths = ["/sessions/{session_id}"]

[session_service]
style = "put"
""")
RUN = {"session": "s-1", "user": "ann"}
MISSING = json.dumps({"detail": "no session s-1"}).encode()
ACTIVE = SessionStatus.ACTIVE

Answer = tuple[int, bytes] | Callable[[Send], Awaitable[None]]


class Stage:
    """The middleware before an upstream that gives `answers` in turn."""

    def __init__(self, *answers: Answer, refuse_deleted: bool = False, limit: int = 1000, budget: int = 10_000) -> None:
        self.answers = list(answers)
        self.received: list[bytes] = []
        self.service = FakeSessionService()
        self.telemetry = FakeTelemetry()
        self.budget = BodyBudget(limit=limit, total=budget)
        self.known = SessionCache(100, 300.0, followed=False)
        recovery = Recovery(self.service, self.known, self.telemetry, refuse_deleted=refuse_deleted)
        self.app = AnswerMiddleware(
            self.upstream,
            extractor=Extractor(PROFILE),
            recovery=recovery,
            budget=self.budget,
            scope_names=(),
        )

    async def upstream(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.received.append(body)
        answer = self.answers.pop(0)
        if callable(answer):
            await answer(send)
            return
        await send({"type": "http.response.start", "status": answer[0], "headers": [(b"x-from", b"upstream")]})
        await send({"type": "http.response.body", "body": answer[1]})

    async def serve(self, body: Any = RUN, target: str = "/run", **more: Any) -> Request:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(target=target, pieces=more.pop("pieces", (raw,)), **more)
        await self.app(request.scope, request.receive, request.send)
        return request

    @property
    def created(self) -> list[str]:
        return [reference.session_id for operation, reference in self.service.asked if operation == "create"]


def content(request: Request) -> bytes:
    return b"".join(message.get("body", b"") for message in request.sent[1:])


async def test_a_missing_session_is_created_and_the_held_request_sent_once_more() -> None:
    stage = Stage((404, MISSING), (200, b"done"))
    request = await stage.serve()
    assert (request.status, content(request)) == (200, b"done")
    assert stage.received == [json.dumps(RUN).encode()] * 2
    assert stage.created == ["s-1"]
    assert ("created", None) in stage.telemetry.decisions


async def test_a_body_in_pieces_is_sent_again_whole() -> None:
    raw = json.dumps(RUN).encode()
    stage = Stage((404, MISSING), (200, b""))
    await stage.serve(pieces=(raw[:5], raw[5:9], raw[9:]))
    assert stage.received == [raw, raw]


async def test_the_second_answer_stands_whatever_it_is() -> None:
    """A request is repeated once at most, and the second answer is passed on."""
    stage = Stage((404, MISSING), (404, MISSING))
    request = await stage.serve()
    assert (request.status, content(request)) == (404, MISSING)
    assert len(stage.received) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"fine"),
        (404, b'{"detail": "Not Found"}'),
        (404, b'{"detail": "no session s-2"}'),
        (404, b"no session s-1"),
        (404, b""),
        (403, MISSING),
        (404, MISSING + b" " * MAX_ANSWER),
    ],
)
async def test_any_other_answer_passes_as_it_is(status: int, body: bytes) -> None:
    stage = Stage((status, body))
    request = await stage.serve()
    assert (request.status, content(request)) == (status, body)
    assert request.response_headers == {b"x-from": b"upstream"}
    assert (len(stage.received), stage.created) == (1, [])


@pytest.mark.parametrize(
    "verdict",
    [Found(Session("ann", ACTIVE)), Conflict(), Unknown("it is down"), Untrustworthy("it mints ids")],
    ids=lambda verdict: type(verdict).__name__,
)
async def test_only_a_session_that_was_created_lets_the_request_go_again(verdict: Verdict) -> None:
    stage = Stage((404, MISSING))

    async def answer(_operation: str, _reference: Reference) -> Verdict:
        return verdict

    stage.service.before = answer
    request = await stage.serve()
    assert (request.status, content(request), len(stage.received)) == (404, MISSING, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"session": "s-1"},
        {"session": "s-1", "user": ["ann"]},
        {"session": "../s", "user": "ann"},
        b'{"session": "s-1", "session": "s-2", "user": "ann"}',
        b"no json",
        {},
    ],
)
async def test_a_request_that_names_no_session_clearly_is_not_recovered(body: Any) -> None:
    stage = Stage((404, MISSING))
    assert (await stage.serve(body)).status == 404
    assert stage.created == []


async def test_a_body_over_the_limit_is_forwarded_and_not_recovered() -> None:
    body = {**RUN, "text": "x" * 1000}
    stage = Stage((404, MISSING))
    assert (await stage.serve(body)).status == 404
    assert (stage.received, stage.created) == ([json.dumps(body).encode()], [])


async def test_where_too_much_is_held_already_the_request_is_forwarded_and_not_recovered() -> None:
    stage = Stage((404, MISSING), budget=10)
    assert (await stage.serve()).status == 404
    assert (len(stage.received), stage.created, stage.budget.held) == (1, [], 0)


async def test_a_coded_body_is_read_and_sent_again_as_it_came() -> None:
    raw = gzip.compress(json.dumps(RUN).encode())
    stage = Stage((404, MISSING), (200, b""))
    assert (await stage.serve(raw, headers=[("content-encoding", "gzip")])).status == 200
    assert stage.received == [raw, raw]


async def test_a_coded_answer_is_read() -> None:
    async def compressed(send: Send) -> None:
        headers = [(b"Content-Encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": gzip.compress(MISSING)})

    assert (await Stage(compressed, (200, b"")).serve()).status == 200


def events(*pieces: bytes, ended: list[bool]) -> Callable[[Send], Awaitable[None]]:
    async def stream(send: Send) -> None:
        headers = [(b"Content-Type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.append(True)

    return stream


async def test_a_stream_is_decided_by_its_first_event() -> None:
    """A stream is decided by its first event and passed on."""
    ended: list[bool] = []
    stage = Stage(events(b"event: error\ndata: ", MISSING + b"\n\n", b"data: more\n\n", ended=ended), (200, b"done"))
    request = await stage.serve()
    assert (request.status, content(request), ended) == (200, b"done", [])


async def test_a_comment_is_not_the_first_event_of_a_stream() -> None:
    """Servers send comments to keep a stream open (HTML, section 9.2.7)."""
    ended: list[bool] = []
    stage = Stage(events(b": ping\n\n", b"data: " + MISSING + b"\n\n", ended=ended), (200, b"done"))
    request = await stage.serve()
    assert (request.status, content(request), ended) == (200, b"done", [])


async def test_a_stream_that_says_something_else_passes_as_it_comes() -> None:
    pieces, ended = (b"data: {}", b"\n\n", b"data: more\n\n"), []
    request = await Stage(events(*pieces, ended=ended)).serve()
    assert (content(request), ended) == (b"".join(pieces), [True])


async def test_an_answer_that_waits_for_more_of_the_body_is_not_held_against_it() -> None:
    """An answer that comes before the whole body is passed on, because the request cannot be sent again."""
    stage = Stage()

    async def early(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": MISSING})

    stage.app._app = early
    request = await stage.serve(pieces=(b'{"session": "s-1",', b' "user": "ann"}'))
    assert (request.status, stage.created) == (404, [])


@pytest.mark.parametrize("field", [("content-length", "4"), ("transfer-encoding", "chunked")])
async def test_an_answer_that_comes_before_any_of_the_body_is_passed_on(field: tuple[str, str]) -> None:
    """A request whose body has not been received cannot be sent again: it would go without its body."""
    stage = Stage()

    async def early(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": MISSING})

    stage.app._app = early
    request = await stage.serve(b"late", "/run?session=s-1&user=ann", headers=[field])
    assert (request.status, stage.created) == (404, [])


async def test_requests_that_miss_one_session_share_one_create_call() -> None:
    stage = Stage(*[(404, MISSING)] * 5, *[(200, b"")] * 5)
    let_go = asyncio.Event()

    async def slowly(_operation: str, _reference: Reference) -> None:
        await let_go.wait()

    stage.service.before = slowly
    requests = [asyncio.create_task(stage.serve()) for _ in range(5)]
    await eventually(lambda: len(stage.received) == 5)
    let_go.set()
    assert [request.status for request in await asyncio.gather(*requests)] == [200] * 5
    assert stage.created == ["s-1"]


async def test_an_answer_from_before_anothers_creation_needs_none_of_its_own() -> None:
    """A request whose answer is older than another's creation is sent again without a create call."""
    late = asyncio.Event()

    async def answer_late(send: Send) -> None:
        await late.wait()
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": MISSING})

    stage = Stage(answer_late, (404, MISSING), (200, b""), (200, b""))
    first = asyncio.create_task(stage.serve())
    await eventually(lambda: stage.received)
    assert (await stage.serve()).status == 200
    late.set()
    assert (await first).status == 200
    assert stage.created == ["s-1"]


async def test_a_session_that_is_missing_again_later_is_created_again() -> None:
    """A session that the upstream has lost again is created again."""
    stage = Stage((404, MISSING), (200, b""), (404, MISSING), (200, b""))
    assert (await stage.serve()).status == 200
    stage.service.sessions.clear()
    assert (await stage.serve()).status == 200
    assert stage.created == ["s-1", "s-1"]


async def test_an_upstream_that_fails_at_the_repetition_is_no_404() -> None:
    """A repetition that fails gives 502, and not the first answer."""

    async def fail(_send: Send) -> None:
        raise UpstreamError(Reason.UPSTREAM_UNAVAILABLE, "gone")

    with pytest.raises(UpstreamError):
        await Stage((404, MISSING), fail).serve()


@pytest.mark.parametrize(("refuse_deleted", "status"), [(True, 404), (False, 200)])
async def test_a_deleted_session_comes_back_only_if_it_may(refuse_deleted: bool, status: int) -> None:
    stage = Stage((204, b""), (404, MISSING), (200, b""), refuse_deleted=refuse_deleted)
    await stage.serve(b"", "/sessions/s-1?user=ann", method="DELETE")
    assert (await stage.serve()).status == status


async def test_a_deletion_that_failed_is_none() -> None:
    stage = Stage((500, b""), (404, MISSING), (200, b""), refuse_deleted=True)
    await stage.serve(b"", "/sessions/s-1?user=ann", method="DELETE")
    assert (await stage.serve()).status == 200


@pytest.mark.parametrize(("refuse_deleted", "known"), [(True, SessionStatus.DELETED), (False, None)])
async def test_a_deletion_is_known_before_the_client_hears_of_it(
    refuse_deleted: bool, known: SessionStatus | None
) -> None:
    stage, seen = Stage((200, b""), refuse_deleted=refuse_deleted), []
    stage.known.remember("s-1", Session("ann", ACTIVE), stage.known.ticket())
    request = Request(target="/sessions/s-1?user=ann", method="DELETE")

    async def send(message: Message) -> None:
        session = stage.known.get("s-1")
        seen.append(None if session is None else session.status)

    await stage.app(request.scope, request.receive, send)
    assert seen == [known, known]


async def test_an_mcp_transport_without_a_session_is_never_recovered() -> None:
    """The error -32001 is about the transport's session, and is passed on."""
    missing = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Session not found"}})
    stage = Stage((404, missing.encode()))
    request = await stage.serve({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}, "/mcp")
    assert (request.status, stage.created) == (404, [])
