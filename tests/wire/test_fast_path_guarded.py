"""With the real guard: the fast path decides, forwards, refuses and counts just as the application does."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.doors.middleware import GuardMiddleware
from sidecar.doors.proxy import bare_proxy
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Extractor
from sidecar.http.client.forwarder import Forwarder
from sidecar.model import Session, SessionStatus
from tests.support import wire
from tests.support.guarded import GuardedHouse
from tests.support.reading import ISA
from tests.support.wire import Seen, get, post, raw_client, raw_upstream

TARGETS = [
    "/api/v1/memories/session/store", "/api/v1/memories", "/api/v1/memories?session_id=known",
    "/api/v1/memories/session/known/summarize?user_id=ann", "/mcp", "/elsewhere", "/api/v1/memories//x",
]  # fmt: skip
BODIES = [
    b'{"session_id": "known", "user_id": "ann"}', b'{"session_id": "known", "user_id": "eve"}',
    b'{"session_id": "known"}', b'{"session_id": "new", "user_id": "ann"}', b'{"session_id": "gone", "user_id": "ann"}',
    b'{"session_id": "known", "user_id": "ann", "session_id": "new"}', b'{"user_id": "ann"}', b"nonsense", b"[]",
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "store_session_message", "arguments": %b}}'
    % b'{"session_id": "known", "user_id": "ann"}',
]  # fmt: skip
FIELDS = ["X-User: ann", "Content-Type: application/json; charset=utf-8", "Content-Type: text/plain", "X-A: b"]

writes = st.builds(
    lambda target, body, fields: post(target, body, *fields),
    st.sampled_from(TARGETS),
    st.sampled_from(BODIES),
    st.lists(st.sampled_from(FIELDS), max_size=2),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(writes, st.just(get("/api/v1/memories"))), min_size=1, max_size=6))
def test_no_end_can_tell_the_fast_path_from_the_application(requests):
    """Client, upstream, session service and counters see the same on both paths."""
    by_fast_path = asyncio.run(everything_seen(requests, fast_path=True))
    assert by_fast_path == asyncio.run(everything_seen(requests, fast_path=False))


async def everything_seen(requests: list[bytes], *, fast_path: bool) -> tuple[object, ...]:
    house = GuardedHouse()
    for name, status in (("known", SessionStatus.ACTIVE), ("gone", SessionStatus.DELETED)):
        house.known.remember(name, Session("ann", status), house.known.ticket())

    def answer(seen: Seen, _writer) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.body), seen.body)

    async with (
        raw_upstream(answer) as upstream,
        wire.running(upstream.url, app=house.app, parts=house.fast_path, fast_path=fast_path) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        answers = []
        for request in requests:
            await client.send(request)
            got = await client.answer()
            fields = [field for field in got.fields if field[0] != b"x-request-id"]  # of its own for each request
            answers.append((got.status, fields, got.body))
        above = [(seen.head, seen.body) for seen in upstream.seen]
    await house.guard.aclose()
    return answers, above, house.service.asked, house.telemetry.notes


@pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "application"])
async def test_a_watched_name_in_the_target_is_noticed_without_a_body(fast_path):
    """A write that no rule looks at counts as unguarded on both paths, though it has no body."""
    house = GuardedHouse()
    watch = UnguardedWrites(["session_id"], lambda _head: False, house.telemetry)

    def app(upstream):
        return bare_proxy(
            Forwarder(upstream),
            lambda app: GuardMiddleware(app, extractor=Extractor(ISA), guard=house.guard, unguarded=watch),
        )

    def parts(upstream):
        return dataclasses.replace(house.fast_path(upstream), unguarded=watch)

    async with (
        raw_upstream() as upstream,
        wire.running(upstream.url, app=app, parts=parts, fast_path=fast_path) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        await client.send(b"POST /elsewhere?session_id=s HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.answer()).status == 200
        assert house.telemetry.notes.count(("unguarded_write",)) == 1
    await house.guard.aclose()
