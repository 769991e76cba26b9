"""Whenever the client goes away, the upstream's request is cancelled and nothing is left over."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import psutil
import pytest

from sidecar.http.server.connection import Timeouts
from tests.support.eventually import eventually
from tests.support.guarded import GuardedHouse
from tests.support.reading import STORE
from tests.support.wire import RawClient, Seen, get, post, raw_client, raw_upstream

CLIENTS = 8
NOBODY = {"idle": 0, "active": 0, "streaming": 0, "waiting": 0}
HASTY = Timeouts(half_closed=0.1, linger=0.1)
"""A client that has closed may still wait for its answer; here it does not get long."""

HEADS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
)
"""The beginnings of answers that never end."""


@dataclass
class EndlessUpstream:
    """Begins each answer, or not even that, and waits for the sidecar to give it up."""

    given_up: int = 0
    answering: list[bytes] = field(default_factory=list)

    async def answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        part = bytes.fromhex(seen.line.split()[1][1:].decode())
        writer.write(part)
        try:
            await writer.drain()
            assert await seen.reader.read() == b"", "more than one request on a connection that was given up"
        finally:
            self.given_up += 1
        raise ConnectionResetError


@dataclass(frozen=True)
class Leaving:
    """One client: what it sends of its request, how much it reads of what is answered, and how it goes."""

    request: bytes
    sent: int
    answer: bytes
    read: int
    resets: bool

    @property
    def is_whole(self) -> bool:
        return self.sent == len(self.request)


def draw(chance: random.Random) -> Leaving:
    """Make up a client that leaves at any of the stages."""
    stage = chance.choice(["before", "head", "body", "waiting", "answer", "answer"])
    answer = chance.choice(HEADS) + chance.randbytes(chance.randrange(1, 2000)) if stage == "answer" else b""
    target = "/" + answer.hex()
    method = chance.choice(["GET", "PUT", "POST"]) if stage != "body" else "POST"
    head, body = get(target), chance.randbytes(chance.choice([2, 1000, 300_000]))
    if method != "GET":
        head = post(target, body, method=method)[: -len(body)]
    request = head if method == "GET" else head + body
    first, last = {"before": (0, 0), "head": (1, len(head) - 1), "body": (len(head), len(request) - 1)}.get(
        stage, (len(request), len(request))
    )
    sent = chance.randint(first, last)
    return Leaving(request, sent, answer, chance.randrange(1, 3000), chance.random() < 0.5)


async def leave(client: RawClient, leaving: Leaving) -> None:
    """Send, read and go."""
    await client.send(leaving.request[: leaving.sent])
    if leaving.answer:
        await client.reader.read(leaving.read)
    if leaving.resets:
        client.reset()


def sockets() -> int:
    """How many of them this process holds."""
    return len(psutil.Process().net_connections())


@pytest.mark.parametrize(
    ("rounds", "seed"),
    [
        (100, 1),
        pytest.param(2000, None, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
async def test_the_upstreams_request_is_given_up_with_the_client(running, rounds, seed):
    """The upstream's request is given up before and within its head, its body and its answer, by an end or a reset."""
    seed = random.randrange(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    chance = random.Random(seed)
    plans = iter([draw(chance) for _ in range(rounds)])
    upstream = EndlessUpstream()
    open_before, tasks = sockets(), len(asyncio.all_tasks())
    async with (
        raw_upstream(upstream.answer) as raw,
        running(raw.url, patience=HASTY, idle=0.5) as sidecar,
    ):
        whole = 0

        async def client() -> None:
            nonlocal whole
            for leaving in plans:
                async with raw_client(sidecar.port) as connection:
                    await leave(connection, leaving)
                whole += leaving.is_whole

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())
        await sidecar.quiet()
        await eventually(lambda: sidecar.upstream.connections() == NOBODY)
        await eventually(lambda: raw.open == 0)
        await eventually(lambda: not sidecar.server.shared.connections)
        # A request whose client left at once may never have gone on; one that was not whole never arrived.
        assert upstream.given_up == len(raw.seen) <= whole
        assert len(raw.seen) > whole // 3
    await eventually(lambda: len(asyncio.all_tasks()) == tasks)
    await eventually(lambda: sockets() == open_before)


@pytest.fixture
async def house():
    """The guard, whose background work ends with the test."""
    house = GuardedHouse()
    yield house
    await house.guard.aclose()


WRITE = b'{"user_id": "ann", "session_id": "s-1", "message_content": "' + b"x" * 400 + b'"}'


def as_chunked(request: bytes) -> bytes:
    head, body = request.split(b"\r\n\r\n", 1)
    length = b"Content-Length: %d" % len(body)
    return head.replace(length, b"Transfer-Encoding: chunked") + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("write", [post(STORE, WRITE), as_chunked(post(STORE, WRITE))], ids=["length", "chunked"])
@pytest.mark.parametrize("resets", [False, True], ids=["end", "reset"])
async def test_a_guarded_write_that_is_not_whole_does_nothing(running, house, write, resets):
    """A guarded write whose upload is cut is not forwarded, and creates no session."""
    async with raw_upstream() as raw, running(raw.url, app=house.app, patience=HASTY) as sidecar:
        connected = raw.accepted

        async def leave_after(sent: int) -> None:
            async with raw_client(sidecar.port) as client:
                await client.send(write[:sent])
                if resets:
                    client.reset()

        offsets = [*range(0, len(write), 23), len(write) - 1]
        for begin in range(0, len(offsets), CLIENTS):
            async with asyncio.TaskGroup() as group:
                for sent in offsets[begin : begin + CLIENTS]:
                    group.create_task(leave_after(sent))
        await eventually(lambda: not sidecar.server.shared.connections)
        await sidecar.quiet()
        assert (raw.seen, raw.accepted, house.service.asked, house.service.sessions) == ([], connected, [], {})
        assert house.budget.held == 0
        # The same write, whole, does it all: it was the leaving that kept the others from it.
        async with raw_client(sidecar.port) as client:
            await client.send(write)
            assert (await client.answer()).status == 200
        assert (len(raw.seen), house.service.sessions["s-1"].owner) == (1, "ann")


async def test_a_client_that_leaves_while_its_session_is_asked_for(running, house):
    """The write is not forwarded, and the question ends by itself."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_operation, _reference):
        asked.set()
        await answer.wait()

    house.service.before = slow
    async with raw_upstream() as raw, running(raw.url, app=house.app, patience=HASTY) as sidecar:
        async with raw_client(sidecar.port) as client:
            await client.send(post(STORE, WRITE))
            await asked.wait()
            client.reset()
        await eventually(lambda: not sidecar.server.shared.connections)
        answer.set()
        await sidecar.quiet()
        assert raw.seen == []
        assert house.budget.held == 0


PATIENT = Timeouts(half_closed=3600, body=3600)
"""Time-outs so long that what ends in time ends for another reason."""


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("GET", b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("POST", b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"Connection: close\r\n\r\n"),
    ],
)
async def test_a_client_of_a_quiet_stream_that_closes_is_gone_at_once(running, method, head):
    """The upstream's request is closed, so that a client that comes back finds the stream free."""
    upstream = EndlessUpstream()
    async with raw_upstream(upstream.answer) as raw, running(raw.url, patience=PATIENT) as sidecar:
        target = "/" + (b"HTTP/1.1 200 OK\r\n" + head).hex()
        async with raw_client(sidecar.port) as client:
            await client.send(get(target) if method == "GET" else post(target))
            await client.reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: upstream.given_up == 1)
        await sidecar.quiet()


async def test_a_client_that_closed_before_its_event_stream_began_is_gone_when_it_begins(running):
    """A client that waits for events and closes its side counts as gone."""
    begin = asyncio.Event()
    ended = asyncio.Event()

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await begin.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await seen.reader.read()
        ended.set()

    async with raw_upstream(answer) as raw, running(raw.url, patience=PATIENT) as sidecar:
        async with raw_client(sidecar.port) as client:
            await client.send(get())
            await eventually(lambda: raw.seen)
        begin.set()
        async with asyncio.timeout(20):
            await ended.wait()
        await sidecar.quiet()


async def test_a_client_that_closed_its_side_still_gets_an_answer_of_declared_length(running):
    """A half-closed client gets its answer."""
    go = asyncio.Event()

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
        await go.wait()
        writer.write(b"two")

    async with raw_upstream(answer) as raw, running(raw.url, patience=PATIENT) as sidecar:
        async with raw_client(sidecar.port) as client:
            await client.send(get())
            await client.reader.readuntil(b"one")
            client.writer.write_eof()
            go.set()
            assert await client.rest() == b"two"
        await sidecar.quiet()


@pytest.mark.parametrize("target", ["/", STORE], ids=["unguarded", "guarded"])
@pytest.mark.parametrize("sent", [3, 0])
async def test_a_half_close_during_an_earlier_answer_is_remembered(running, house, target, sent):
    """A request whose body can never be whole is given up in its turn, and is not forwarded."""
    go = asyncio.Event()

    async def answer(_seen: Seen, _writer: asyncio.StreamWriter) -> bytes:
        await go.wait()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async with raw_upstream(answer) as raw, running(raw.url, app=house.app, patience=PATIENT) as sidecar:
        async with raw_client(sidecar.port) as client:
            write = post(target, b"x" * 140)
            await client.send(get("/first"), write[: len(write) - 140 + sent])
            client.writer.write_eof()
            await eventually(lambda: raw.seen)
            await eventually(lambda: any(each._half_closed for each in sidecar.server.shared.connections))
            go.set()
            async with asyncio.timeout(20):
                assert await client.rest() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        await sidecar.quiet()
        assert [seen.line for seen in raw.seen] == [b"GET /first HTTP/1.1"]
