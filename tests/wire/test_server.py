"""What a client sees of the server over real sockets: persistence, turns, interim answers, patience, ends."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from sidecar.http.server.connection import Timeouts
from tests.support import wire
from tests.support.eventually import eventually
from tests.support.wire import Seen, get, post, raw_client, raw_upstream


def serving(*handlers):
    """Make the sidecar's application out of handlers by path."""
    by_name = {f"/{handler.__name__}": handler for handler in handlers}

    def make(_upstream):
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await by_name[scope["path"]](scope, receive, send)

        return app

    return make


async def respond(send: Send, body: bytes = b"", status: int = 200, *fields: tuple[bytes, bytes]) -> None:
    headers = [(b"Content-Length", b"%d" % len(body)), *fields]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await respond(send, body)


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses without looking at the body."""
    await respond(send, b"no", 413)


async def open_ended(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("on purpose")


async def failing_late(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"10")]})
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})
    raise ValueError("on purpose")


async def peculiar(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 799, "reason": b"Most Odd", "headers": [(b"X-Case", b"1")]})
    await send({"type": "http.response.body", "body": b"x"})


async def watched(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for the disconnect beside its response, as Starlette's StreamingResponse does."""
    await receive()
    watching = asyncio.create_task(receive())
    await asyncio.sleep(0)
    await respond(send, b"seen")
    assert (await watching)["type"] == "http.disconnect"


@pytest.fixture
async def port(running):
    """A server whose patience is short enough for tests."""
    app = serving(echo, deaf, open_ended, failing, failing_late, peculiar, watched)
    patience = Timeouts(head=0.3, idle=0.6, body=0.3, unread=1.0, linger=1.0, half_closed=0.5)
    async with running("http://127.0.0.1:9", app=app, patience=patience) as sidecar:
        yield sidecar.port
        await sidecar.quiet()
        await eventually(lambda: not sidecar.server.shared.connections)


async def test_a_connection_carries_one_request_after_another(port):
    """HTTP/1.1 connections persist by default."""
    async with raw_client(port) as client:
        for body in (b"one", b"two", b""):
            await client.send(post("/echo", body))
            answer = await client.answer()
            assert (answer.status, answer.body, answer.values("connection")) == (200, body, [])


async def test_pipelined_requests_are_answered_in_their_order(port):
    """A later request waits for its turn."""
    async with raw_client(port) as client:
        await client.send(b"".join(post("/echo", b"%d" % number) for number in range(50)))
        assert [(await client.answer()).body for _ in range(50)] == [b"%d" % number for number in range(50)]


async def test_a_chunked_body_is_followed_by_the_next_request(port):
    """The end of a chunked body is found among pipelined bytes, and trailers never become fields."""
    chunked = get("/echo", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\nX-Evil: 1\r\n\r\n"
    async with raw_client(port) as client:
        await client.send(chunked + chunked + post("/echo", b"last"))
        assert [(await client.answer()).body for _ in range(3)] == [b"abc", b"abc", b"last"]


async def test_a_client_that_says_close_is_closed_after_its_answer(port):
    """The answer says `Connection: close`, and the connection is closed after it."""
    async with raw_client(port) as client:
        await client.send(post("/echo", b"x", "Connection: close"))
        answer = await client.answer()
        assert (answer.body, answer.values("connection")) == (b"x", [b"close"])
        assert await client.rest() == b""


async def test_continue_is_sent_when_somebody_wants_the_body(port):
    """Reading the body makes the server send `100 Continue`."""
    async with raw_client(port) as client:
        await client.send(get("/echo", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert (await client.answer()).status == 100
        await client.send(b"abc")
        assert (await client.answer()).body == b"abc"


async def test_continue_is_not_sent_when_nobody_does(port):
    """A refusal comes at once and closes, because the body may or may not follow."""
    async with raw_client(port) as client:
        await client.send(get("/deaf", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        answer = await client.answer()
        assert (answer.status, answer.values("connection")) == (413, [b"close"])
        assert await client.rest() == b""


async def test_an_answer_over_an_unread_body_survives_the_rest_of_the_body(port):
    """The connection is half-closed and drained, because a reset would discard the answer."""
    async with raw_client(port) as client:
        await client.send(get("/deaf", "Content-Length: 4000000", method="POST"))
        await client.send(b"x" * 4_000_000)
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"no")
        assert await client.rest() == b""


async def test_a_slow_head_is_refused(port):
    """A head that is not whole in time, counted from its first byte, gets 408."""
    async with raw_client(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHo")
        answer = await client.answer()
        assert answer.status == 408
        assert await client.rest() == b""


async def test_an_idle_connection_is_closed(port):
    """An idle connection is closed without an answer."""
    async with raw_client(port) as client:
        assert await client.rest() == b""


async def test_a_client_that_does_not_read_is_given_up(port):
    """A connection is closed whose client takes no part of an answer for too long."""
    async with raw_client(port) as client:
        client.writer.transport.pause_reading()
        with pytest.raises(ConnectionError):
            await client.send(*[post("/echo", b"x" * 1_000_000)] * 1000)


async def test_a_client_may_close_its_sending_side_and_still_be_answered(port):
    """A half-closed client gets its answer."""
    async with raw_client(port) as client:
        await client.send(post("/echo", b"abc") + post("/echo", b"def"))
        client.writer.write_eof()
        assert [(await client.answer()).body for _ in range(2)] == [b"abc", b"def"]
        assert await client.rest() == b""


async def test_an_answer_without_length_is_chunked(port):
    """In HTTP/1.1 an answer without a length is chunked."""
    async with raw_client(port) as client:
        await client.send(get("/open_ended"))
        answer = await client.answer()
        assert (answer.values("transfer-encoding"), answer.body) == ([b"chunked"], b"onetwo")


async def test_http_1_0_gets_no_chunks(port):
    """In HTTP/1.0 the end of the connection ends the answer."""
    async with raw_client(port) as client:
        await client.send(b"GET /open_ended HTTP/1.0\r\n\r\n")
        answer = await client.answer()
        assert answer.values("transfer-encoding") == []
        assert answer.values("connection") == [b"close"]
        assert answer.body == b"onetwo"


@pytest.mark.filterwarnings("ignore")
async def test_an_application_that_fails_is_a_500(port):
    """The client gets 500, and the connection persists."""
    async with raw_client(port) as client:
        await client.send(get("/failing"))
        assert (await client.answer()).status == 500
        await client.send(post("/echo", b"x"))
        assert (await client.answer()).body == b"x"


async def test_an_application_that_fails_late_breaks_the_connection(port):
    """A response that was begun is broken off, so that it does not look complete."""
    async with raw_client(port) as client:
        await client.send(get("/failing_late"))
        answer = await client.answer()
        assert (answer.body, answer.complete) == (b"12345", False)


async def test_any_status_and_reason_can_be_sent(port):
    """Any three digits are a status, and the phrase is the application's."""
    async with raw_client(port) as client:
        await client.send(get("/peculiar"))
        answer = await client.answer()
        assert (answer.status, answer.reason, answer.values("x-case")) == (799, b"Most Odd", [b"1"])


async def test_empty_lines_before_a_request_are_skipped(port):
    """Empty lines before a request line are skipped (RFC 9112, section 2.2)."""
    async with raw_client(port) as client:
        await client.send(b"\r\n\r\n" + post("/echo", b"x") + b"\r\n" + post("/echo", b"y"))
        assert [(await client.answer()).body for _ in range(2)] == [b"x", b"y"]


async def test_a_body_is_waited_for_as_long_behind_a_request_whose_application_watches_its_client(port):
    """What an application still waits for after its answer has no say in how long the next body may take."""
    async with raw_client(port) as client:
        await client.send(get("/watched") + post("/echo", b"x" * 100)[:-50])
        assert (await client.answer()).body == b"seen"
        async with asyncio.timeout(10):
            assert (await client.answer()).status == 500


async def test_what_asgi_loses_is_in_the_wire(running):
    """Target, names in their case, version and address reach the upstream as they came."""
    async with raw_upstream() as upstream, running(upstream.url) as sidecar:
        async with raw_client(sidecar.port) as client:
            await client.send(b"GET http://a/b?#c HTTP/1.1\r\nHost: h\r\nX-OdD: 1\r\n\r\n")
            await client.answer()
        seen: Seen = upstream.seen[0]
        assert seen.line == b"GET http://a/b?#c HTTP/1.1"
        assert (b"X-OdD", b"1") in seen.fields
        assert seen.values("x-forwarded-for") == [b"127.0.0.1"]


async def test_a_body_that_stops_coming_is_a_408(running):
    """After the time-out between two pieces the client gets 408, and the upstream's request is broken off."""
    async with (
        raw_upstream() as upstream,
        running(upstream.url, patience=Timeouts(body=0.2)) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        await client.send(post("/", b"x" * 100)[:-50])
        answer = await client.answer()
        assert (answer.status, answer.body) == (408, b"body_timeout")
        await eventually(lambda: upstream.open == 0)
        assert upstream.seen == []
        await asyncio.sleep(0)


async def test_a_hosted_application_may_change_the_fields_of_a_request():
    """What it adds to one request is not in the next one with the same head."""

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"].append((b"x-added", b"1"))
        await respond(send, b"%d" % len(scope["headers"]))

    async with (
        wire.running("http://127.0.0.1:1", app=serving(count), hosted=True) as sidecar,
        raw_client(sidecar.port) as client,
    ):
        for _ in range(2):
            await client.send(get("/count"))
            assert (await client.answer()).body == b"2"


async def test_two_tasks_of_an_application_may_send_to_a_client_that_reads_slowly(running):
    """Both go on once the client has caught up, as those of an event stream and its pings have to."""
    sent = 64 * [bytes(1_000_000)]

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_all() -> None:
            for piece in sent:
                await send({"type": "http.response.body", "body": piece, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": [(b"Connection", b"close")]})
        await asyncio.gather(send_all(), send_all())
        await send({"type": "http.response.body", "body": b""})

    async with (
        running("http://127.0.0.1:1", app=serving(stream)) as sidecar,
        raw_client(sidecar.port) as client,
        asyncio.timeout(30),
    ):
        await client.send(get("/stream"))
        await eventually(lambda: any(connection.write_paused for connection in sidecar.server.shared.connections))
        assert (await client.rest()).count(b"\0") == 2 * len(sent) * len(sent[0])


async def test_an_application_that_asks_whether_its_client_has_gone_still_gets_the_disconnect(running):
    """A `receive` that is given up, as by `Request.is_disconnected`, takes nothing from another that waits."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watching = asyncio.create_task(receive())
        await asyncio.sleep(0)
        asking = asyncio.create_task(receive())
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        asked.set()
        assert (await watching)["type"] == "http.disconnect"
        left.set()

    async with running("http://127.0.0.1:1", app=serving(watch)) as sidecar:
        async with raw_client(sidecar.port) as client:
            await client.send(get("/watch"))
            await asked.wait()
        async with asyncio.timeout(10):
            await left.wait()
