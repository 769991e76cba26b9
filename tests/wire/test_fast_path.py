"""The fast path: what takes it, what gives way, and that neither end can tell which it was."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.fast_path.collected_body import CollectedBody
from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.refusal import Response
from sidecar.extract.extractor import Classification
from sidecar.guard.guard import ImmediateGuard
from sidecar.guard.ports import Telemetry
from sidecar.http.client.response import UpstreamError
from sidecar.http.server.connection import Timeouts
from sidecar.model import Call, Extraction, Grounds, Head, Reference, RefusalFormat
from sidecar.testing import permit
from tests.support import wire
from tests.support.eventually import DEADLINE, eventually
from tests.support.wire import OK, BreaksUnderTheSecond, Seen, ask, get, post, raw_client, raw_upstream

SMALL = b'{"session_id": "s-1", "user_id": "ann"}'


class Counting(ImmediateGuard):
    """Knows every body but those that say `unknown`, and counts what it admitted by the fast path and otherwise."""

    def __init__(self) -> None:
        self.by_fast_path = 0
        self.by_application = 0

    def app(self, upstream):
        forward = wire.admitting(upstream)

        async def app(scope, receive, send) -> None:
            if scope["type"] == "http":
                self.by_application += 1
                await forward(scope, receive, send)

        return app

    def fast_path(self, upstream):
        return FastPath(self.classify, self, upstream, self.unanswered, BodyBudget(limit=1 << 20, total=1 << 20))

    def classify(self, head: Head):
        if head.method in ("POST", "PATCH", "PUT") or b"guarded" in head.target:
            return Classification(RefusalFormat.REST, self.extract, needs_body=True)
        return None

    def extract(self, body: bytes) -> Extraction:
        return Extraction(RefusalFormat.REST, (Call(Reference(body.decode("latin-1"), "ann")),))

    def pass_through(self):
        self.by_fast_path += 1
        return permit()

    def permit_known(self, extraction: Extraction):
        if "unknown" in extraction.calls[0].reference.session_id:
            return None
        self.by_fast_path += 1
        return permit(Grounds.KNOWN)

    def unanswered(self, extraction, error: UpstreamError) -> Response:
        status, text = wire.failure(error)
        body = b"" if extraction is None else extraction.calls[0].reference.session_id.encode("latin-1")
        return Response(status, [(b"Content-Length", b"%d" % len(text)), (b"X-Body", body)], text)


class Watching(Telemetry):
    """Notes whether something for the client was on its way when the response was counted."""

    def __init__(self, client: int) -> None:
        self._client = client
        self.sent_before: list[bool] = []

    def upstream(self, seconds: float) -> None:
        self.sent_before.append(bool(select.select([self._client], [], [], 5.0)[0]))


@contextlib.asynccontextmanager
async def stage(answer=OK, *, fast_path=True, **options):
    """An upstream, a sidecar and its door."""
    door = Counting()
    async with (
        raw_upstream(answer) as upstream,
        wire.running(upstream.url, app=door.app, parts=door.fast_path, fast_path=fast_path, **options) as sidecar,
    ):
        yield upstream, sidecar, door
        await sidecar.quiet()


async def test_small_json_writes_take_the_fast_path():
    """A small JSON write of any length takes the fast path, and so does the next one."""
    async with stage() as (upstream, sidecar, door), raw_client(sidecar.port) as client:
        for length in (2, 200, 20, 2, 65_000):
            await client.send(post("/store", b"x" * length))
            assert (await client.answer()).body == b"ok"
        assert (door.by_fast_path, door.by_application) == (5, 0)
        assert [len(seen.body) for seen in upstream.seen] == [2, 200, 20, 2, 65_000]
        assert [seen.values("content-length") for seen in upstream.seen] == [
            [b"2"],
            [b"200"],
            [b"20"],
            [b"2"],
            [b"65000"],
        ]


async def test_a_familiar_response_is_counted_once_it_was_sent():
    """The client does not wait for the figures of a response like the one before."""
    async with stage() as (_, sidecar, _), raw_client(sidecar.port) as client:
        await client.send(post("/store", SMALL))
        assert (await client.answer()).body == b"ok"
        sidecar.upstream.telemetry = watching = Watching(client.writer.get_extra_info("socket").fileno())
        await client.send(post("/store", SMALL))
        assert (await client.answer()).body == b"ok"
        assert watching.sent_before == [True]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_requests_without_a_body_take_the_fast_path(method):
    """A request without a body takes the fast path, under the same target or another."""
    answer = OK.removesuffix(b"ok") if method == "HEAD" else OK
    async with stage(answer) as (upstream, sidecar, door), raw_client(sidecar.port) as client:
        for target in ("/a", "/a", "/b?c=%20d", "/a"):
            await client.send(get(target, method=method))
            assert (await client.answer(method=method)).status == 200
        assert (door.by_fast_path, door.by_application) == (4, 0)
        assert [seen.line.split()[1] for seen in upstream.seen] == [b"/a", b"/a", b"/b?c=%20d", b"/a"]
        assert upstream.accepted == 1


async def test_a_request_without_a_body_is_sent_once_more_on_a_stale_connection():
    """The fast path sends the request again on a new connection."""
    answer = BreaksUnderTheSecond()
    async with stage(answer) as (_, sidecar, door), raw_client(sidecar.port) as client:
        for _ in range(2):
            await client.send(get())
            assert (await client.answer()).status == 200
        assert (answer.counted, door.by_fast_path, door.by_application) == (3, 2, 0)


async def test_a_request_is_sent_once_more_and_not_twice():
    """A second failure is answered with 502."""
    answered = []

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        answered.append(seen)
        if len(answered) == 1:
            writer.write(OK)
        else:
            writer.transport.abort()

    async with stage(answer) as (_, sidecar, door):
        assert (await ask(sidecar.port, get())).status == 200
        assert (await ask(sidecar.port, get())).status == 502
        assert (len(answered), door.by_fast_path) == (3, 2)


async def test_a_client_that_leaves_while_its_request_is_sent_once_more():
    """A client that leaves meanwhile leaves no connection behind."""
    async with raw_upstream(BreaksUnderTheSecond()) as upstream, wire.running(upstream.url, fast_path=True) as sidecar:
        assert (await ask(sidecar.port, get())).status == 200
        async with raw_client(sidecar.port) as client:
            await client.send(get())
            client.reset()
        await sidecar.quiet()
        assert (await ask(sidecar.port, get())).status == 200


async def test_a_request_without_a_body_is_not_overtaken_on_its_way_to_the_upstream():
    """A write that a client sends on another connection straight after a read reaches the upstream after it."""
    async with (
        stage() as (upstream, sidecar, door),
        raw_client(sidecar.port) as reading,
        raw_client(sidecar.port) as writing,
    ):
        for client in (reading, writing):
            await client.send(get("/warm"))
        for client in (reading, writing):
            await client.answer()
        upstream.seen.clear()
        for _ in range(50):
            reading.writer.write(get("/first"))
            writing.writer.write(post("/second", SMALL))
            await reading.answer()
            await writing.answer()
        assert [seen.line.split()[1] for seen in upstream.seen] == [b"/first", b"/second"] * 50
        assert door.by_application <= 2


@pytest.mark.parametrize(
    "request_",
    [
        get("/guarded"),
        get("/", "Connection: upgrade", "Upgrade: websocket"),
        get("/").replace(b"HTTP/1.1", b"HTTP/1.0"),
        get("/", method="POST"),
        post("/", b"x" * 65_537),
        post("/", SMALL, "Content-Encoding: gzip"),
        get("/", "Transfer-Encoding: chunked", method="TRACE") + b"0\r\n\r\n",
        post("http://memory.example/", SMALL),
        get("/", "Content-Type: application/json", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
        post("/", SMALL, "Connection: upgrade", "Upgrade: h2c"),
        post("/", SMALL).replace(b"HTTP/1.1", b"HTTP/1.0"),
        post("/", b"unknown"),
    ],
    ids=lambda request_: request_[:60].decode("latin-1"),
)
async def test_all_else_is_the_applications(request_):
    """A request with anything special is served by the application."""
    async with stage() as (upstream, sidecar, door):
        assert (await ask(sidecar.port, request_)).body == b"ok"
        assert (door.by_fast_path, door.by_application) == (0, 1)
        assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    "request_",
    [
        get("/", method="PROPFIND"),
        get("/", "Content-Length: 2") + b"ok",
        post("/", SMALL, "Content-Type: text/plain"),
        post("/", SMALL, method="PUT"),
        post("/", SMALL, method="REPORT"),
        post("/a%2Fb", SMALL),
        post("/", SMALL).replace(b"Content-Length: ", b"Content-Length: 0000000000"),
        get("/", "Transfer-Encoding: chunked", method="PROPFIND") + b"2\r\nok\r\n0\r\n\r\n",
        post("/", b"x" * 200_000, method="PROPFIND"),
    ],
    ids=lambda request_: request_[:80].decode("latin-1"),
)
async def test_what_can_be_admitted_at_once_takes_the_fast_path(request_):
    """Method, media type, length and framing of a request do not matter, nor do percent-escapes in its target."""
    async with stage() as (upstream, sidecar, door), raw_client(sidecar.port) as client:
        for _ in range(2):
            await client.send(request_)
            assert (await client.answer()).body == b"ok"
        assert (door.by_fast_path, door.by_application) == (2, 0)
        sent = request_.partition(b"\r\n\r\n")[2]
        assert [seen.body for seen in upstream.seen] == [sent] * 2


def held_bytes(sidecar) -> int:
    """How many bytes the only client connection holds and has not handled."""
    (connection,) = sidecar.server.shared.connections
    held = connection._served
    known = len(held.head.raw) + sum(map(len, held.pieces)) if isinstance(held, CollectedBody) else 0
    return known + len(connection._buffer)


async def test_the_body_may_come_in_pieces():
    """The fast path holds a request until its body is whole."""
    async with stage() as (upstream, sidecar, door), raw_client(sidecar.port) as client:
        request = post("/", SMALL)
        for cut in (len(request) - 10, len(request) - len(SMALL), 30):
            await client.send(request[:cut])
            await eventually(lambda arrived=cut: held_bytes(sidecar) == arrived)
            await client.send(request[cut:])
            assert (await client.answer()).body == b"ok"
        assert (door.by_fast_path, door.by_application) == (3, 0)
        assert [seen.body for seen in upstream.seen] == [SMALL] * 3


async def test_a_held_body_that_is_whole_is_waited_for_no_more():
    """The request is sent once, however long its response takes."""
    go = asyncio.Event()

    async def answer(_seen: Seen, _writer) -> bytes:
        await go.wait()
        return OK

    async with stage(answer) as (upstream, sidecar, door), raw_client(sidecar.port) as client:
        request = post("/", SMALL)
        await client.send(request[:-10])
        await eventually(lambda: held_bytes(sidecar) == len(request) - 10)
        await client.send(request[-10:])
        await eventually(lambda: len(upstream.seen) == 1)
        (connection,) = sidecar.server.shared.connections
        connection.sweep(asyncio.get_running_loop().time() + 3600)
        go.set()
        assert (await client.answer()).body == b"ok"
        assert (door.by_fast_path, door.by_application, len(upstream.seen)) == (1, 0, 1)


async def test_a_body_behind_another_request_is_read_on():
    """A client that was held while its next request came is read again when that request is streamed."""
    go = asyncio.Event()
    body = b"x" * (1 << 20)

    async def answer(seen: Seen, _writer) -> bytes:
        if b"/slow" in seen.line:
            await go.wait()
        return OK

    async with (
        stage(answer, patience=Timeouts(body=1.0)) as (upstream, sidecar, door),
        raw_client(sidecar.port) as client,
    ):
        client.writer.write(get("/slow") + post("/stream", body, method="DELETE"))
        await eventually(lambda: all(each.reading_held for each in sidecar.server.shared.connections))
        go.set()
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        assert [seen.body for seen in upstream.seen] == [b"", body]
        assert (door.by_fast_path, door.by_application) == (2, 0)


async def test_the_head_behind_a_slow_one_has_its_own_time():
    """A head that began to come while the request before it was served gets 408 when the rest does not come."""
    go = asyncio.Event()

    async def answer(_seen: Seen, _writer) -> bytes:
        await go.wait()
        return OK

    async with (
        stage(answer, patience=Timeouts(head=0.3)) as (upstream, sidecar, door),
        raw_client(sidecar.port) as client,
    ):
        (first, rest) = get("/a").split(b" HTTP")
        await client.send(first)
        await eventually(lambda: any(each._buffer for each in sidecar.server.shared.connections))
        await client.send(b" HTTP" + rest + b"GET /b")
        await eventually(lambda: upstream.seen)
        go.set()
        async with asyncio.timeout(5):
            assert [(await client.answer()).status for _ in range(2)] == [200, 408]
        assert (door.by_fast_path, door.by_application) == (1, 0)


async def test_without_a_free_connection_the_application_waits_for_one():
    """A request that finds no free connection is served by the application."""
    async with stage(connections=1) as (upstream, sidecar, door):
        await asyncio.gather(*(ask(sidecar.port, post("/", SMALL)) for _ in range(20)))
        assert door.by_fast_path + door.by_application == 20
        assert len(upstream.seen) == 20
        assert upstream.accepted == 1


@pytest.mark.filterwarnings("ignore")
async def test_what_the_door_stumbles_over_is_the_applications():
    """An error in the fast path hands the request to the application."""

    class Stumbling(Counting):
        def classify(self, head):
            if b"/head" in head.target:
                raise ValueError("on purpose")
            return super().classify(head)

        def permit_known(self, extraction):
            raise ZeroDivisionError

    door = Stumbling()

    async with (
        raw_upstream() as upstream,
        wire.running(upstream.url, app=door.app, parts=door.fast_path, fast_path=True) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        for target in ("/head", "/body", "/body"):
            await client.send(post(target, SMALL))
            assert (await client.answer()).body == b"ok"


async def test_a_failure_is_answered_by_the_door():
    """A failure on the fast path has the same answer as one in the application."""

    async def answer(_seen, writer):
        writer.transport.abort()

    async with stage(answer) as (_, sidecar, door):
        got = await ask(sidecar.port, post("/", SMALL))
        assert (got.status, got.values("x-body"), door.by_fast_path) == (502, [SMALL], 1)


async def test_a_write_is_never_sent_twice():
    """A write that failed on a stale connection is answered with 502."""
    answer = BreaksUnderTheSecond()
    async with stage(answer) as (_, sidecar, door):
        assert (await ask(sidecar.port, post("/", SMALL))).status == 200
        assert (await ask(sidecar.port, post("/", SMALL))).status == 502
        assert (answer.counted, door.by_fast_path) == (2, 2)


async def test_an_interim_answer_and_a_stream_pass():
    """Interim answers and streamed pieces are passed on as they come."""
    go = asyncio.Event()

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with stage(answer) as (_, sidecar, door), raw_client(sidecar.port) as client:
        await client.send(post("/", SMALL))
        assert (await client.answer()).status == 103
        await client.reader.readuntil(b"one\r\n")
        assert sidecar.upstream.connections()["streaming"] == 1
        go.set()
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
        assert door.by_fast_path == 1


async def test_a_slow_reader_holds_the_upstream_back():
    """A large answer is not taken into memory for a client that does not read it."""
    size = 64 << 20

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            writer.write(b"x" * (1 << 16))
            await writer.drain()
            sent.append(1 << 16)

    sent: list[int] = []
    async with stage(answer) as (_, sidecar, door), raw_client(sidecar.port) as client:
        client.writer.transport.pause_reading()
        await client.send(post("/", SMALL))
        seen = -1
        while seen != sum(sent):
            seen = sum(sent)
            await asyncio.sleep(0.2)
        assert sum(sent) < size
        client.writer.transport.resume_reading()
        assert len((await client.answer()).body) == size
        await client.send(post("/", SMALL))
        assert len((await client.answer()).body) == size
        assert door.by_fast_path == 2


async def test_a_client_that_reads_nothing_is_not_answered_for_ever():
    """Pipelined requests of a client that reads nothing do not pile up answers."""

    def answer(_seen: Seen, _writer) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000

    async with stage(answer) as (upstream, sidecar, door), raw_client(sidecar.port) as client:
        client.writer.transport.pause_reading()
        client.writer.write(post("/", SMALL) * 2000)
        seen = -1
        while seen != len(upstream.seen):
            seen = len(upstream.seen)
            await asyncio.sleep(0.2)
        assert len(upstream.seen) < 2000
        client.writer.transport.resume_reading()
        for _ in range(2000):
            assert (await client.answer()).status == 200
        assert door.by_fast_path + door.by_application == 2000


async def test_a_client_that_reads_nothing_leaves_the_upstream_connection_to_others():
    """The connection of a response that the client does not read any more is read for the next request."""

    def answer(_seen: Seen, _writer) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000

    async with stage(answer) as (upstream, sidecar, door), raw_client(sidecar.port) as client:
        client.writer.transport.pause_reading()
        for sent in itertools.count(1):
            await client.send(post("/", SMALL))
            await eventually(lambda: len(upstream.seen) == sent and not sidecar.upstream.connections()["active"])  # noqa: B023
            if any(connection.write_paused for connection in sidecar.server.shared.connections):
                break
        async with asyncio.timeout(DEADLINE):
            assert (await ask(sidecar.port, post("/", SMALL))).status == 200
        assert (upstream.accepted, door.by_application) == (1, 0)


requests = st.one_of(
    st.builds(
        lambda target, body, fields: post(target, body, *fields),
        st.sampled_from(["/store", "/store?a=b", "/other"]),
        st.sampled_from([b"{}", b"[1]", SMALL, b"unknown", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100]),
        st.lists(st.sampled_from(["X-A: b", "x-a: B", "X-B: 1", "Content-Type: application/json"]), max_size=2),
    ),
    st.sampled_from(
        [
            get("/a"),
            get("/a?b=%20"),
            get("/b", "X-A: b"),
            get("/d", method="DELETE"),
            get("/guarded"),
            b"\r\n" + get("/c"),
            post("/p", b"put", method="PUT"),
        ]
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests, min_size=1, max_size=8), st.lists(st.integers(0, 3000), max_size=6))
@example([post("/other", b"unknown", "X-A: b"), post("/other", b"x" * 100)], [90])  # a whole body behind a half-close
def test_both_paths_are_the_same_to_both_ends(sent, cuts):
    """Any sequence on one connection, cut anywhere, gives the same requests above and the same bytes below."""
    assert asyncio.run(both_ends(sent, cuts, fast_path=True)) == asyncio.run(both_ends(sent, cuts, fast_path=False))


async def both_ends(sent: list[bytes], cuts: list[int], *, fast_path: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
    data = b"".join(sent)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})

    def answer(seen: Seen, _writer) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.line), seen.line)

    async with stage(answer, fast_path=fast_path) as (upstream, sidecar, _), raw_client(sidecar.port) as client:
        for start, end in itertools.pairwise(edges):
            await client.send(data[start:end])
            await asyncio.sleep(0)
        client.writer.write_eof()
        answers = await client.rest()
        return [(seen.head, seen.body) for seen in upstream.seen], answers
