"""First writes: whether the fast path or the application has the guard ask, clients and upstreams see the same."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.guard.verdicts import Conflict, Created, Gone, Unknown, Untrustworthy
from sidecar.model import Session, SessionStatus
from tests.support import wire
from tests.support.eventually import eventually
from tests.support.guard import always
from tests.support.guarded import GuardedHouse
from tests.support.reading import STORE
from tests.support.wire import OK, Seen, ask, get, post, raw_client, raw_upstream

WRITE = post(STORE, b'{"session_id": "s-1", "user_id": "ann", "message_content": "hi"}', "X-Request-ID: r-1")
CREATED = Created(Session("ann", SessionStatus.ACTIVE))


@pytest.fixture
async def house():
    """The guard, whose background work ends with the test."""
    house = GuardedHouse()
    yield house
    await house.guard.aclose()


async def test_the_fast_path_serves_a_first_write_by_itself(house):
    """The fast path asks, creates, forwards and answers, and then serves the next request of the connection."""
    seen = []

    def app(upstream):
        forward = house.app(upstream)

        async def counting(scope, receive, send) -> None:
            seen.append(scope["type"])
            await forward(scope, receive, send)

        return counting

    async with (
        raw_upstream() as raw,
        wire.running(raw.url, app=app, parts=house.fast_path, fast_path=True) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        await client.send(WRITE + get("/after"))
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        assert (seen, [operation for operation, _ in house.service.asked]) == ([], ["ensure"])
        assert [sent.line.split()[1] for sent in raw.seen] == [STORE.encode(), b"/after"]
        await sidecar.quiet()
    assert house.budget.held == 0


async def test_pipelined_requests_have_ids_of_their_own(running, house):
    """A request that begins alike and without an id does not get the id of the request before it."""
    house.service.before = always(Gone())
    write = WRITE.replace(b"X-Request-ID: r-1\r\n", b"")
    async with raw_upstream() as raw, running(raw.url, app=house.app) as sidecar, raw_client(sidecar.port) as client:
        await client.send(write * 3)
        answers = [await client.answer() for _ in range(3)]
        assert [answer.status for answer in answers] == [410] * 3
        assert len({answer.values("x-request-id")[0] for answer in answers}) == 3
        await sidecar.quiet()


REFUSED = [Conflict(), Gone(), Unknown("nobody answers", 7), Untrustworthy("it lies")]


@pytest.mark.parametrize("verdict", REFUSED, ids=lambda verdict: type(verdict).__name__)
async def test_a_refusal_is_the_same_to_the_byte(verdict):
    """Status, fields and body are the same, and the connection serves the next request."""
    answers = []
    for fast_path in (False, True):
        house = GuardedHouse()
        house.service.before = always(verdict)
        async with (
            raw_upstream() as raw,
            wire.running(raw.url, app=house.app, fast_path=fast_path) as sidecar,
            raw_client(sidecar.port) as client,
        ):
            await client.send(WRITE)
            answers.append(await client.answer())
            assert raw.seen == []
            house.service.before = None
            house.known.forget("s-1")
            house.service.sessions.clear()
            await client.send(WRITE)
            assert (await client.answer()).status == 200
            await sidecar.quiet()
        await house.guard.aclose()
        assert house.budget.held == 0
    assert answers[0] == answers[1]
    assert answers[0].status >= 400


async def test_a_guard_that_fails_is_a_500(running, house):
    """The request is not forwarded, and the connection serves the next one."""

    async def fail(_operation, _reference):
        raise RuntimeError("a bug")

    house.service.before = fail
    async with raw_upstream() as raw, running(raw.url, app=house.app) as sidecar, raw_client(sidecar.port) as client:
        await client.send(WRITE)
        answer = await client.answer()
        assert (answer.status, answer.body, raw.seen) == (500, b"Internal Server Error", [])
        house.service.before = None
        await client.send(WRITE)
        assert (await client.answer()).status == 200
        await sidecar.quiet()
    assert house.budget.held == 0


async def test_no_room_for_bodies_is_an_overload(running, house):
    """A body that waits for its session counts against the limit of held bodies."""
    house.budget.lease().take((1 << 20) - 10)
    async with raw_upstream() as raw, running(raw.url, app=house.app) as sidecar:
        assert ((await ask(sidecar.port, WRITE)).status, raw.seen, house.service.asked) == (503, [], [])
        await sidecar.quiet()
    assert house.budget.held == (1 << 20) - 10


async def test_the_body_of_a_first_write_counts_as_held_until_its_response_is_complete(running, house):
    """It is counted once it waits for its session, and as long as a body of the same size is by the application."""
    go = asyncio.Event()

    async def answer(_seen: Seen, _writer) -> bytes:
        await go.wait()
        return OK

    async with raw_upstream(answer) as raw, running(raw.url, app=house.app) as sidecar:
        write = asyncio.create_task(ask(sidecar.port, WRITE))
        await eventually(lambda: raw.seen)
        assert house.budget.held == len(raw.seen[0].body)
        go.set()
        assert (await write).status == 200
        await eventually(lambda: house.budget.held == 0)


async def test_an_upstream_that_went_away_meanwhile_is_a_502(running, house):
    """The session exists by then, and the failure is reported as the memory service's."""
    async with raw_upstream() as raw, running(raw.url, app=house.app) as sidecar:

        async def answer(_operation, _reference):
            for connection in list(sidecar.upstream.pool._open):
                connection.abort()
            sidecar.upstream.pool.origin = type(sidecar.upstream.pool.origin)("127.0.0.1", 1)
            return CREATED

        house.service.before = answer
        assert ((await ask(sidecar.port, WRITE)).status, raw.seen) == (502, [])
        await sidecar.quiet()
    assert house.budget.held == 0


async def test_a_session_deleted_while_its_first_write_waits_for_a_connection(running, house):
    """The permit has lapsed once a connection is free, and the guard decides again."""
    go = asyncio.Event()

    async def answer(seen: Seen, _writer) -> bytes:
        if b"/slow" in seen.line:
            await go.wait()
        return OK

    async with raw_upstream(answer) as raw, running(raw.url, app=house.app, connections=1) as sidecar:
        slow = None

        async def create(_operation, _reference):
            nonlocal slow
            slow = asyncio.create_task(ask(sidecar.port, get("/slow")))
            await eventually(lambda: raw.seen)
            return CREATED

        house.service.before = create
        write = asyncio.create_task(ask(sidecar.port, WRITE))
        await eventually(lambda: sidecar.upstream.connections()["waiting"] == 1)
        house.known.deleted("s-1")
        go.set()
        assert ((await write).status, (await slow).status) == (410, 200)
        assert [seen.line.split()[1] for seen in raw.seen] == [b"/slow"]
        await sidecar.quiet()
    assert house.budget.held == 0


async def test_a_client_that_leaves_after_the_question_began(running, house):
    """The session is created, the write is not forwarded, and no body is left held."""
    go = asyncio.Event()

    async def create(_operation, _reference):
        await go.wait()
        return CREATED

    house.service.before = create
    async with raw_upstream() as raw, running(raw.url, app=house.app) as sidecar:
        async with raw_client(sidecar.port) as client:
            await client.send(WRITE)
            await eventually(lambda: house.service.asked)
            client.reset()
        await eventually(lambda: not sidecar.server.shared.connections)
        go.set()
        await sidecar.quiet()
        assert (raw.seen, house.budget.held) == ([], 0)


async def test_a_stop_waits_for_a_first_write(running, house):
    """A request that was read whole is decided, forwarded and answered."""
    go = asyncio.Event()

    async def create(_operation, _reference):
        await go.wait()
        return CREATED

    house.service.before = create
    async with raw_upstream() as raw, running(raw.url, app=house.app) as sidecar, raw_client(sidecar.port) as client:
        await client.send(WRITE)
        await eventually(lambda: house.service.asked)
        sidecar.server.stop()
        go.set()
        assert ((await client.answer()).status, len(raw.seen)) == (200, 1)
