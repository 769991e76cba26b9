"""Stopping in order: what was accepted is answered, what would never end is ended, and then it is over."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.eventually import eventually
from tests.support.wire import OK, RawClient, get, post, raw_client, raw_upstream

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent\n\r\n"


@pytest.fixture
async def gate():
    """Opens when the upstream may answer."""
    return asyncio.Event()


@pytest.fixture
async def stage(gate, running):
    """An upstream that answers `/slow` when the gate opens, `/events` with a stream, and all else at once."""

    async def answer(seen, _writer):
        if b"/slow" in seen.line:
            await gate.wait()
        return EVENTS if b"/events" in seen.line else OK

    async with raw_upstream(answer) as upstream, running(upstream.url) as sidecar:
        yield upstream, sidecar


async def stopped(sidecar) -> int:
    """Wait for the server to end by itself."""
    return await asyncio.wait_for(asyncio.shield(sidecar.serving), 20)


async def asked(client: RawClient, request: bytes, upstream) -> None:
    """Send a request and wait until the upstream has it."""
    before = len(upstream.seen)
    await client.send(request)
    await eventually(lambda: len(upstream.seen) > before)


async def test_what_is_in_flight_is_answered(stage, gate):
    """The answer is whole and says that it is the last on its connection."""
    upstream, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await asked(client, post("/slow"), upstream)
        sidecar.server.stop()
        await eventually(lambda: sidecar.server.shared.draining)
        gate.set()
        answer = await client.answer()
        assert (answer.body, answer.values("connection")) == (b"ok", [b"close"])
        assert await client.rest() == b""
    assert await stopped(sidecar) == 0


async def test_pipelined_requests_are_answered_too(stage, gate):
    """Each request whose head was read is answered, and the last answer says `Connection: close`."""
    upstream, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await asked(client, get("/slow") + get("/1") + get("/2"), upstream)
        sidecar.server.stop()
        await eventually(lambda: sidecar.server.shared.draining)
        gate.set()
        answers = [await client.answer() for _ in range(3)]
        assert [answer.values("connection") for answer in answers] == [[], [], [b"close"]]
        assert await client.rest() == b""
    assert await stopped(sidecar) == 0


async def test_a_request_on_its_way_on_an_idle_connection_is_answered(stage):
    """An idle connection is kept open for a moment, so that a request on its way is answered."""
    _, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await client.send(get())
        await client.answer()
        sidecar.server.stop()
        await eventually(lambda: sidecar.server.shared.draining)
        await client.send(get())
        answer = await client.answer()
        assert (answer.status, answer.values("connection")) == (200, [b"close"])
    assert await stopped(sidecar) == 0


async def test_an_idle_connection_does_not_hold_anybody_up(stage):
    """An idle connection is closed after that moment."""
    _, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await client.send(get())
        await client.answer()
        sidecar.server.stop()
        assert await client.rest() == b""
    assert await stopped(sidecar) == 0


async def test_event_streams_are_ended_first(stage):
    """An event stream gets a regular end."""
    upstream, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await asked(client, get("/events"), upstream)
        await client.reader.readuntil(b"event\n\r\n")
        sidecar.server.stop()
        assert await client.rest() == b"0\r\n\r\n"
    assert await stopped(sidecar) == 0
    await eventually(lambda: upstream.open == 0)


async def test_a_stream_that_answers_a_post_is_an_answer(stage):
    """An event stream that answers a POST may be the result of a call, and is waited for."""
    upstream, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await asked(client, post("/events"), upstream)
        await client.reader.readuntil(b"event\n\r\n")
        sidecar.server.stop()
        await eventually(lambda: sidecar.server.shared.draining)
        assert not sidecar.serving.done()
        assert sidecar.server.shared.connections


async def test_no_new_connection_is_accepted(stage, gate):
    """A new connection is refused while the rest is finished."""
    upstream, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await asked(client, post("/slow"), upstream)
        sidecar.server.stop()

        async def refused() -> bool:
            try:
                async with raw_client(sidecar.port):
                    return False
            except ConnectionError:
                return True

        await eventually(refused)
        gate.set()
        assert (await client.answer()).body == b"ok"
    assert await stopped(sidecar) == 0


async def test_the_time_to_drain_has_an_end(gate, running):
    """What is not done by the time-out is broken off, and the server ends."""

    async def never(_seen, _writer):
        await gate.wait()

    async with raw_upstream(never) as upstream, running(upstream.url, drain_timeout=0.2) as sidecar:
        async with raw_client(sidecar.port) as client:
            await asked(client, post(), upstream)
            sidecar.server.stop()
            assert await client.rest() == b""
        assert await stopped(sidecar) == 0
        assert not sidecar.server.shared.tasks


async def test_a_second_request_to_stop_ends_at_once(stage):
    """The exit code is 1, and no connection is left."""
    upstream, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await asked(client, post("/slow"), upstream)
        sidecar.server.stop()
        await eventually(lambda: sidecar.server.shared.draining)
        sidecar.server.stop()
        assert await client.rest() == b""
    assert await stopped(sidecar) == 1
    assert not sidecar.server.shared.tasks
    assert not sidecar.server.shared.connections
