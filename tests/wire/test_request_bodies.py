"""Request bodies that come while they are served: streamed where no rule looks at them, else held within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tracemalloc
from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from sidecar.http.client.upstream import Upstream
from sidecar.http.server.connection import Timeouts
from sidecar.model import Session, SessionStatus
from tests.support.eventually import eventually
from tests.support.guarded import GuardedHouse
from tests.support.reading import STORE
from tests.support.wire import (
    OK,
    App,
    BreaksUnderTheSecond,
    Seen,
    admitting,
    ask,
    get,
    post,
    raw_client,
    raw_upstream,
)
from tests.support.wire import running as run

HEADS = {
    "declared length": b"POST /raw HTTP/1.1\r\nHost: memory\r\nContent-Length: 100000\r\n\r\n",
    "chunked": b"POST /raw HTTP/1.1\r\nHost: memory\r\nTransfer-Encoding: chunked\r\n\r\n",
}


def house_that_knows(**bounds: int) -> GuardedHouse:
    """A guard that knows the session s-1 as that of ann."""
    house = GuardedHouse(**bounds)
    house.known.remember("s-1", Session("ann", SessionStatus.ACTIVE), house.known.ticket())
    return house


def write(size: int, session: str = "s-1") -> bytes:
    """Give a write of about `size` bytes."""
    return json.dumps({"user_id": "ann", "session_id": session, "message_content": "x" * size}).encode()


@contextlib.contextmanager
def traced_memory() -> Iterator[None]:
    """Have tracemalloc count what is allocated in the block and lives on."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("framing", HEADS)
async def test_a_body_that_no_rule_looks_at_is_streamed(stage, framing):
    """The upstream has the beginning of a body while the client still sends, and the client an early response."""
    begun = asyncio.Event()

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        assert b"first" in await seen.reader.readuntil(b"first")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        begun.set()
        await seen.reader.readuntil(b"last")
        writer.write(b"cd")

    async with stage(answer, read_body=False) as (_, sidecar), raw_client(sidecar.port) as client:
        chunked = framing == "chunked"
        await client.send(HEADS[framing], b"5\r\nfirst\r\n" if chunked else b"first")
        await begun.wait()
        assert (await client.reader.readuntil(b"ab")).startswith(b"HTTP/1.1 200 OK")
        await client.send(b"4\r\nlast\r\n0\r\n\r\n" if chunked else b"x" * 99_991 + b"last")
        assert await client.reader.readexactly(2) == b"cd"


@pytest.mark.parametrize("framing", HEADS)
async def test_a_streamed_body_that_stops_coming_is_a_408(stage, framing):
    """The client is answered in the upstream's place, and its connection closes."""
    async with (
        stage(patience=Timeouts(body=0.1)) as (_, sidecar),
        raw_client(sidecar.port) as client,
    ):
        await client.send(HEADS[framing], b"1\r\nx\r\n" if framing == "chunked" else b"x")
        assert (await client.answer()).status == 408
        assert await client.rest() == b""


@pytest.mark.parametrize("framing", HEADS)
async def test_a_failure_in_the_middle_of_a_body_leaves_nothing_to_read_as_a_request(stage, framing):
    """Bytes of a body whose upstream broke the connection are not taken for the next request."""

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with stage(answer, read_body=False) as (upstream, sidecar), raw_client(sidecar.port) as client:
        await client.send(HEADS[framing])
        assert (await client.answer()).status == 502
        await client.send(get("/hidden"))
        assert await client.rest() == b""
        assert len(upstream.seen) == 1


async def test_a_layer_that_fails_on_a_piece_of_the_body_fails_the_request():
    """A layer around the forwarder may refuse a piece by raising: nothing more is waited for, on either side."""

    def failing(upstream: Upstream) -> App:
        inner = admitting(upstream)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def refusing() -> Message:
                message = await receive()
                if message.get("body", b"").endswith(b"!"):
                    raise ValueError("on purpose")
                return message

            await inner(scope, refusing, send)

        return app

    whole = post("/", b"x" * 100 + b"!")
    async with (
        raw_upstream() as upstream,
        run(upstream.url, app=failing) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        await client.send(whole[:-50])
        await eventually(lambda: upstream.open)
        await client.send(whole[-50:])
        async with asyncio.timeout(10):
            assert (await client.answer()).status == 500
        await eventually(lambda: not upstream.open)
        assert upstream.seen == []


async def test_a_known_write_of_any_length_up_to_the_limit_is_forwarded_as_it_came(running):
    """Bodies in many pieces are held on the budget, and the budget is free again at the end."""
    house = house_that_knows()
    async with raw_upstream() as upstream, running(upstream.url, app=house.app) as sidecar:
        async with raw_client(sidecar.port) as client:
            for size in (10, 70_000, 900_000, 70_000):
                body = write(size)
                request = post(STORE, body)
                await client.send(*(request[at : at + 50_000] for at in range(0, len(request), 50_000)))
                assert (await client.answer()).status == 200
                assert upstream.seen[-1].body == body
        await eventually(lambda: house.budget.held == 0)
    await house.guard.aclose()


async def test_the_body_of_a_write_counts_as_held_until_its_response_is_complete(running):
    """Large bodies in flight together stay within the bound, and what finds no room is refused for now."""
    house = house_that_knows(budget=300_000)
    go = asyncio.Event()

    async def answer(_seen: Seen, _writer: asyncio.StreamWriter) -> bytes:
        await go.wait()
        return OK

    async with raw_upstream(answer) as upstream, running(upstream.url, app=house.app) as sidecar:
        first = asyncio.create_task(ask(sidecar.port, post(STORE, write(200_000))))
        await eventually(lambda: len(upstream.seen) == 1)
        assert house.budget.held >= 200_000
        assert (await ask(sidecar.port, post(STORE, write(200_000)))).status == 503
        go.set()
        assert (await first).status == 200
        await eventually(lambda: house.budget.held == 0)
    await house.guard.aclose()


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_nothing_keeps_the_body_of_a_write_that_was_answered(running, method):
    """Idle connections, the client's and the upstream's, hold no body that the budget does not count any more."""
    size = 2 << 20
    house = house_that_knows(limit=2 * size, budget=2 * size)
    request = post(STORE, write(size), method=method)

    def answer(seen: Seen, _writer: asyncio.StreamWriter) -> bytes:
        seen.body = b""
        return OK

    async with (
        raw_upstream(answer) as upstream,
        running(upstream.url, app=house.app, idle=60.0) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        with traced_memory():
            await client.send(*(request[at : at + 50_000] for at in range(0, len(request), 50_000)))
            assert (await client.answer()).status == 200
            await eventually(lambda: house.budget.held == 0 and tracemalloc.get_traced_memory()[0] < size / 2, within=5)
    await house.guard.aclose()


async def test_a_body_goes_with_its_client_while_the_session_is_asked_for(running):
    """What is no longer counted as held is let go, although the question goes on."""
    size = 2 << 20
    house = GuardedHouse(limit=2 * size, budget=2 * size)
    asked, go = asyncio.Event(), asyncio.Event()

    async def wait(_operation, _reference):
        asked.set()
        await go.wait()

    house.service.before = wait
    request = post(STORE, write(size))
    async with raw_upstream() as upstream, running(upstream.url, app=house.app) as sidecar:
        with traced_memory():
            async with raw_client(sidecar.port) as client:
                await client.send(*(request[at : at + 50_000] for at in range(0, len(request), 50_000)))
                await asked.wait()
                client.reset()
            await eventually(lambda: not sidecar.server.shared.connections)
            traced = tracemalloc.get_traced_memory
            await eventually(lambda: house.budget.held >= size or traced()[0] < size / 2, within=5)
        go.set()
        await sidecar.quiet()
    await house.guard.aclose()


async def test_a_client_that_leaves_gives_its_part_of_the_budget_back(running):
    """Neither a body that is cut nor a request in flight holds anything once its client has gone."""
    house = house_that_knows()

    async with raw_upstream(lambda *_: b"") as upstream, running(upstream.url, app=house.app) as sidecar:
        request = post(STORE, write(200_000))
        for sent in (request[:100_000], request):
            async with raw_client(sidecar.port) as client:
                await client.send(sent)
                await eventually(lambda: house.budget.held > 0)
                client.reset()
            await eventually(lambda: house.budget.held == 0)
    await house.guard.aclose()


@pytest.mark.parametrize("size", [2_000, 100_000])
async def test_a_known_write_over_the_limit_is_refused(running, size):
    """The limit of SIDECAR_MAX_BODY holds for known sessions too, below 64 KiB and above."""
    house = house_that_knows(limit=1_000)
    async with raw_upstream() as upstream, running(upstream.url, app=house.app) as sidecar:
        assert (await ask(sidecar.port, post(STORE, write(size)))).status == 413
        assert upstream.seen == []
    await house.guard.aclose()


async def test_a_first_write_with_a_large_body_creates_its_session(running):
    """A body that was held while the guard asked is forwarded as it came, and let go."""
    house = GuardedHouse()
    body = write(300_000, "s-new")
    async with raw_upstream() as upstream, running(upstream.url, app=house.app) as sidecar:
        assert (await ask(sidecar.port, post(STORE, body))).status == 200
        assert upstream.seen[-1].body == body
        assert house.service.sessions["s-new"].owner == "ann"
        await eventually(lambda: house.budget.held == 0)
    await house.guard.aclose()


async def test_a_body_that_comes_slowly_is_decided_by_what_it_says_itself(running):
    """A request that the fast path leaves to the application takes nothing over from the one before it."""
    house = house_that_knows()
    house.service.add("s-2", "bob")
    refused = post(STORE, write(10, "s-2"))
    async with (
        raw_upstream() as upstream,
        running(upstream.url, app=house.app) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        await client.send(post(STORE, write(10)))
        assert (await client.answer()).status == 200
        await client.send(refused[:-10])
        await eventually(lambda: sidecar.server.shared.tasks)
        await client.send(refused[-10:])
        assert (await client.answer()).status == 403
        assert len(upstream.seen) == 1
    await house.guard.aclose()


@pytest.mark.parametrize("size", [10, 40_000])
async def test_a_known_put_is_sent_once_more_on_a_stale_connection(running, size):
    """PUT is idempotent, so a request that was sent whole may be repeated (RFC 9110, section 9.2.2)."""
    house = house_that_knows()
    answer = BreaksUnderTheSecond()
    async with raw_upstream(answer) as upstream, running(upstream.url, app=house.app) as sidecar:
        assert (await ask(sidecar.port, get("/health"))).status == 200
        assert (await ask(sidecar.port, post(STORE, write(size), method="PUT"))).status == 200
        assert (answer.counted, upstream.seen[-1].body) == (3, write(size))
    await house.guard.aclose()
