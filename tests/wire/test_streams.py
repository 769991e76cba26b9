"""Streams of events pass one event at a time, may be quiet, and many of them do not disturb other requests."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from sidecar.http.server.connection import Timeouts
from tests.support.eventually import eventually
from tests.support.sidecar_process import sidecar_process
from tests.support.wire import OK, Seen, ask, get, post, raw_client, raw_upstream

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
MIB = 1 << 20


def event(number: int) -> bytes:
    return b"id: %d\ndata: {}\n\n" % number


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class TellingUpstream:
    """Answers `/events` with a stream that tells what the test says, and everything else at once."""

    def __init__(self, head: bytes = CHUNKED) -> None:
        self.head = head
        self.listeners: list[asyncio.StreamWriter] = []

    async def answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bytes | None:
        if b"/events" not in seen.line:
            return OK
        writer.write(self.head)
        self.listeners.append(writer)
        await seen.reader.read()
        raise ConnectionResetError

    def tell(self, data: bytes) -> None:
        for writer in self.listeners:
            writer.write(chunk(data) if self.head is CHUNKED else data)


@pytest.mark.parametrize("request_", [get("/events"), post("/events")], ids=["GET", "POST"])
@pytest.mark.parametrize("head", [CHUNKED, UNTIL_CLOSE], ids=["chunked", "until-close"])
async def test_each_event_arrives_before_the_next_is_sent(running, request_, head):
    """The head arrives before the first event, and each event before the next is sent."""
    telling = TellingUpstream(head)
    async with (
        raw_upstream(telling.answer) as upstream,
        running(upstream.url) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        await client.send(request_)
        await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 30)
        for number in range(50):
            telling.tell(event(number))
            received = await asyncio.wait_for(client.reader.readuntil(b"\n\n"), 30)
            assert received.endswith(event(number))


SHORT = 0.1


@pytest.mark.parametrize(
    ("patience", "options", "times"),
    [
        (
            Timeouts(head=SHORT, idle=SHORT, body=SHORT, unread=SHORT, linger=SHORT, half_closed=SHORT),
            {"idle": SHORT, "connect_timeout": 5.0, "response_timeout": SHORT},
            5,
        ),
        pytest.param(Timeouts(), {}, 2, marks=[pytest.mark.long, pytest.mark.timeout(400)]),
    ],
    ids=["short", "as-delivered"],
)
async def test_a_quiet_stream_stays_open(running, patience, options, times):
    """A stream that says nothing stays open while other connections are closed for being idle."""
    telling = TellingUpstream()
    async with (
        raw_upstream(telling.answer) as upstream,
        running(upstream.url, patience=patience, **options) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        await client.send(get("/events"))
        await client.reader.readuntil(b"\r\n\r\n")
        for number in range(times):
            async with raw_client(sidecar.port) as idle:
                assert await idle.rest() == b""
            telling.tell(event(number))
            assert (await client.reader.readuntil(b"\n\n")).endswith(event(number))


@pytest.mark.parametrize("streams", [100, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_open_streams_harm_nobody(tmp_path, record_property, streams):
    """Ordinary requests are answered, each listener hears each event, and memory stays flat."""
    telling = TellingUpstream()
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(raw_upstream(telling.answer))
        sidecar = await asyncio.to_thread(
            stack.enter_context, sidecar_process(upstream.url, tmp_path, SIDECAR_UPSTREAM_CONNECTIONS="4")
        )
        clients = [await stack.enter_async_context(raw_client(sidecar.port)) for _ in range(streams)]
        for client in clients:
            await client.send(get("/events"))
        await asyncio.gather(*(client.reader.readuntil(b"\r\n\r\n") for client in clients))
        assert len(telling.listeners) == streams

        async def one_round(number: int) -> None:
            telling.tell(event(number))
            asked = [ask(sidecar.port, post("/other") if n % 2 else get("/other")) for n in range(10)]
            for answer in await asyncio.gather(*asked):
                assert (answer.status, answer.body) == (200, b"ok")
            for heard in await asyncio.gather(*(client.reader.readuntil(b"\n\n") for client in clients)):
                assert heard.endswith(event(number))

        for number in range(5):
            await one_round(number)
        resident = sidecar.resident
        for number in range(5, 55):
            await one_round(number)
        grown = (sidecar.resident - resident) / MIB
        record_property("growth in MiB", grown)
        print(f"{streams} streams: {resident / MIB:.1f} MiB, grown by {grown:.1f} MiB in 50 rounds")
        assert grown < 5
        for client in clients:
            client.reset()
        await eventually(lambda: upstream.open <= 4)
