"""What passes between client and upstream: bytes, interim answers, failures, retries, limits."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from sidecar.http.server.connection import Timeouts
from tests.support.eventually import eventually
from tests.support.wire import OK, BreaksUnderTheSecond, Seen, ask, get, post, raw_client


def answered(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class TestAnswers:
    """Answers as the client gets them."""

    @pytest.mark.parametrize(
        ("method", "answer", "body"),
        [
            ("HEAD", answered("HTTP/1.1 200 OK", "Content-Length: 1000"), b""),
            ("HEAD", answered("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), b""),
            ("GET", answered("HTTP/1.1 204 No Content"), b""),
            ("GET", answered("HTTP/1.1 304 Not Modified", "Content-Length: 1000", "ETag: x"), b""),
            ("GET", answered("HTTP/1.1 205 Reset Content", "Content-Length: 0"), b""),
            ("GET", answered("HTTP/1.1 200 OK", "Content-Length: 3", body=b"abc"), b"abc"),
            ("GET", answered("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"), b"abc"),
            ("GET", answered("HTTP/1.0 200 OK", "Content-Length: 3", body=b"abc"), b"abc"),
            ("GET", answered("HTTP/1.1 200", "Content-Length: 0"), b""),
            ("GET", answered("HTTP/1.1 799 Most Odd", "Content-Length: 0"), b""),
            ("DELETE", answered("HTTP/1.1 200 \xc4rger", "Content-Length: 1", "X-A: \xe4", body=b"x"), b"x"),
        ],
    )
    async def test_every_kind_of_answer_is_passed_on(self, stage, method, answer, body):
        """Each kind of answer is passed on twice on one connection, so that its end was found."""
        async with stage(answer) as (upstream, sidecar), raw_client(sidecar.port) as client:
            for _ in range(2):
                await client.send(get("/", method=method))
                got = await client.answer(method=method)
                assert (got.status, got.body, got.complete) == (int(answer.split()[1]), body, True)
                for line in answer.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
                    assert tuple(line.split(b": ")) in got.fields
            assert len(upstream.seen) == 2

    async def test_a_close_delimited_answer_stays_one(self, stage):
        """Both sides end the answer with the end of the connection."""

        async def answer(_seen, writer):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
            await writer.drain()
            writer.close()

        async with stage(answer) as (_, sidecar):
            got = await ask(sidecar.port, get())
            assert (got.body, got.values("connection"), got.values("transfer-encoding")) == (
                b"all of it",
                [b"close"],
                [],
            )

    async def test_interim_answers_are_passed_on_in_order(self, stage):
        """A 103 comes before its answer, and HTTP/1.0 gets none."""
        hints = answered("HTTP/1.1 103 Early Hints", "Link: </a>; rel=preload")
        async with stage(hints + OK) as (_, sidecar):
            async with raw_client(sidecar.port) as client:
                await client.send(get())
                hint = await client.answer()
                assert (hint.status, hint.values("link")) == (103, [b"</a>; rel=preload"])
                assert (await client.answer()).status == 200
            assert (await ask(sidecar.port, b"GET / HTTP/1.0\r\n\r\n")).status == 200

    async def test_a_connection_on_which_an_upgrade_was_refused_is_not_used_again(self, stage):
        """The server may take what follows for the other protocol, so the connection is closed."""
        async with stage() as (upstream, sidecar):
            upgrade = get("/", "Connection: upgrade", "Upgrade: websocket")
            assert (await ask(sidecar.port, upgrade)).status == 200
            assert sidecar.upstream.connections()["idle"] == 0
            assert (await ask(sidecar.port, get())).status == 200
            assert upstream.accepted == 2
            # As before, where the answer begins like that of the request before it.
            assert (await ask(sidecar.port, upgrade)).status == 200
            assert sidecar.upstream.connections()["idle"] == 0

    async def test_hop_by_hop_fields_stay_behind_both_ways(self, stage):
        """Hop-by-hop fields, those that `Connection` names, and the sidecar's own are removed in both directions."""
        fields = ["Connection: X-Hop", "X-Hop: 1", "Keep-Alive: x", "Proxy-Connection: x", "X_Sidecar.Session: x"]
        answer = answered("HTTP/1.1 200 OK", *fields, "X-Kept: 1", "Content-Length: 0")
        async with stage(answer) as (upstream, sidecar):
            got = await ask(sidecar.port, get("/", *fields, "TE: trailers", "Trailer: x", "X-Kept: 1"))
            assert got.fields == [(b"X-Kept", b"1"), (b"Content-Length", b"0")]
            names = [name for name, _ in upstream.seen[0].fields]
            assert names == [b"Host", b"X-Kept", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host"]

    async def test_the_decision_is_told_where_that_is_wanted(self, stage):
        """`SIDECAR_DECISION_HEADER` adds `X-Sidecar-Session` to the response."""
        async with stage(decision_header=True) as (_, sidecar):
            got = await ask(sidecar.port, get())
            assert got.values("x-sidecar-session") == [b"passed"]

    @pytest.mark.parametrize(
        "nonsense",
        [
            b"nonsense\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000 + b"\r\n\r\n",
            b"",
        ],
        ids=lambda nonsense: nonsense[:60],
    )
    async def test_what_is_no_answer_is_a_502(self, stage, nonsense):
        """No part of it is passed on, and the connection is closed."""

        async def answer(_seen, writer):
            writer.write(nonsense)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

        async with stage(answer) as (upstream, sidecar):
            got = await ask(sidecar.port, get())
            assert (got.status, got.body) == (502, b"upstream_unavailable")
            await eventually(lambda: upstream.open == 0)

    async def test_bytes_behind_an_answer_never_become_another_clients_answer(self, stage):
        """A connection with bytes behind an answer is closed."""
        async with stage(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") as (upstream, sidecar):
            for _ in range(5):
                assert (await ask(sidecar.port, get())).body == b"ok"
            assert upstream.accepted == 5


class TestRequests:
    """Requests as the upstream gets them."""

    async def test_framing_is_kept(self, stage):
        """A declared length and chunks are kept, and a request without a body gets no length."""
        async with stage() as (upstream, sidecar):
            await ask(sidecar.port, post("/", b"hello"))
            chunked = get("/", "Transfer-Encoding: chunked", method="POST")
            await ask(sidecar.port, chunked + b"5;x=y\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n")
            await ask(sidecar.port, get("/", "Content-Length: 0", method="POST"))
            await ask(sidecar.port, get("/", method="POST"))
            lengths = [(seen.values("content-length"), seen.values("transfer-encoding")) for seen in upstream.seen]
            assert lengths == [([b"5"], []), ([], [b"chunked"]), ([b"0"], []), ([], [])]
            assert [seen.body for seen in upstream.seen] == [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"", b""]
            assert not any(seen.values("x-trailer") for seen in upstream.seen)

    async def test_a_head_reaches_the_upstream_before_its_body(self, stage):
        """The head is forwarded at once, so that the upstream may answer before the body."""
        async with stage(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", read_body=False) as (_, sidecar):
            got = await ask(sidecar.port, get("/", "Content-Length: 100", method="POST"))
            assert got.status == 401

    async def test_both_directions_flow_at_once(self, stage):
        """An upstream may answer a body piece by piece while it comes."""

        async def parrot(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                writer.write(b"1\r\n%b\r\n" % await seen.reader.readexactly(1))
            writer.write(b"0\r\n\r\n")

        async with stage(parrot, read_body=False) as (_, sidecar), raw_client(sidecar.port) as client:
            await client.send(get("/", "Content-Length: 3", method="POST"))
            await client.reader.readuntil(b"\r\n\r\n")
            for letter in (b"a", b"b", b"c"):
                await client.send(letter)
                assert await client.reader.readexactly(6) == b"1\r\n%b\r\n" % letter

    async def test_continue_is_the_upstreams_to_give(self, stage):
        """`100 Continue` comes from the upstream, where the sidecar does not read the body."""

        async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if b"/no" in seen.line:
                writer.write(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.write(OK)

        expecting = ("Content-Length: 3", "Expect: 100-continue")
        async with stage(answer, read_body=False) as (upstream, sidecar):
            assert (await ask(sidecar.port, get("/no", *expecting, method="POST"))).status == 417
            async with raw_client(sidecar.port) as client:
                await client.send(get("/yes", *expecting, method="POST"))
                assert (await client.answer()).status == 100
                await client.send(b"abc")
                assert (await client.answer()).status == 200
            assert [seen.values("expect") for seen in upstream.seen] == [[b"100-continue"]] * 2

    async def test_a_missing_host_is_the_upstreams_own(self, stage):
        """HTTP/1.0 needs no `Host`, and HTTP/1.1 does."""
        async with stage() as (upstream, sidecar):
            await ask(sidecar.port, b"GET / HTTP/1.0\r\n\r\n")
            assert upstream.seen[0].line == b"GET / HTTP/1.1"
            assert upstream.seen[0].values("host") == [f"127.0.0.1:{upstream.port}".encode()]

    async def test_a_unix_socket_is_an_upstream_too(self, running, tmp_path):
        """`unix:/path` names an upstream."""

        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            writer.close()

        path = tmp_path / "memory.sock"
        async with await asyncio.start_unix_server(serve, path), running(f"unix:{path}") as sidecar:
            assert (await ask(sidecar.port, get())).body == b"ok"


class TestFailures:
    """When the upstream does not answer."""

    async def test_nobody_listens(self, running):
        """A refused connection is answered with 502."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        async with running(f"http://127.0.0.1:{port}") as sidecar:
            assert (await ask(sidecar.port, get())).body == b"upstream_unavailable"
            await sidecar.quiet()

    async def test_no_answer_in_time(self, stage):
        """The client gets 504, and the connection is closed."""

        async def silence(_seen, _writer):
            await asyncio.sleep(60)

        async with stage(silence, response_timeout=0.2) as (upstream, sidecar):
            for request in (get(), post()):
                assert (await ask(sidecar.port, request)).body == b"upstream_timeout"
            assert len(upstream.seen) == 2
            await eventually(lambda: sidecar.upstream.connections()["idle"] == 0)

    async def test_an_upstream_that_does_not_read_an_upload(self, stage):
        """An upload that the upstream does not read is answered with 504."""

        async def deaf(_seen, _writer):
            await asyncio.sleep(60)

        async with (
            stage(deaf, read_body=False, response_timeout=0.3) as (_, sidecar),
            raw_client(sidecar.port) as client,
        ):
            await client.send(get("/", "Content-Length: 50000000", method="POST"))
            sending = asyncio.create_task(client.send(b"x" * 50_000_000))
            assert (await client.answer()).body == b"upstream_timeout"
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    @pytest.mark.parametrize(
        "part",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        ],
    )
    async def test_a_cut_answer_never_looks_complete(self, stage, part):
        """The client's connection is broken off too."""

        async def answer(_seen, writer):
            writer.write(part)
            await writer.drain()
            writer.close()

        async with stage(answer) as (_, sidecar):
            assert not (await ask(sidecar.port, get())).complete

    async def test_a_cut_answer_to_http_1_0_is_a_reset(self, stage):
        """The client gets a reset, because a regular end would look like the end of the answer."""

        async def answer(_seen, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")
            await writer.drain()
            writer.close()

        async with stage(answer) as (_, sidecar):
            assert not (await ask(sidecar.port, b"GET / HTTP/1.0\r\n\r\n")).complete


class TestReuse:
    """Connections to the upstream."""

    async def test_connections_are_reused(self, stage):
        """One request after another uses the same connection."""
        async with stage() as (upstream, sidecar):
            for _ in range(5):
                await ask(sidecar.port, post())
            assert upstream.accepted == 1

    async def test_idle_connections_are_closed(self, stage):
        """An idle connection is closed before the upstream closes it."""
        async with stage(idle=0.2) as (upstream, sidecar):
            await ask(sidecar.port, get())
            await eventually(lambda: upstream.open == 0)
            assert sidecar.upstream.connections()["idle"] == 0

    @pytest.mark.parametrize(("method", "sent", "status"), [("GET", 3, 200), ("PUT", 3, 200), ("POST", 2, 502)])
    async def test_a_stale_connection_is_retried_only_where_that_is_harmless(self, stage, method, sent, status):
        """An idempotent request is retried once on a new connection, and a POST never."""
        answer = BreaksUnderTheSecond()
        async with stage(answer) as (_, sidecar):
            await ask(sidecar.port, get())
            got = await ask(sidecar.port, post("/", b"x", method=method))
            assert (got.status, answer.counted) == (status, sent)

    async def test_a_new_connection_is_never_retried(self, stage):
        """A failure on a new connection is answered with 502."""
        counted = 0

        async def answer(_seen, writer):
            nonlocal counted
            counted += 1
            writer.transport.abort()

        async with stage(answer) as (_, sidecar):
            assert (await ask(sidecar.port, get())).status == 502
            assert counted == 1

    async def test_requests_wait_for_a_connection_in_their_order(self, stage):
        """Requests wait in their order, and there are never more connections than allowed."""
        order: list[bytes] = []
        go = asyncio.Event()

        async def answer(seen: Seen, _writer):
            order.append(seen.line.split()[1])
            await go.wait()
            return OK

        async with stage(answer, connections=1) as (upstream, sidecar):
            asking = []
            for number in range(20):
                asking.append(asyncio.create_task(ask(sidecar.port, get(f"/{number}"))))
                await eventually(lambda n=number: len(order) + sidecar.upstream.connections()["waiting"] == n + 1)
            go.set()
            answers = await asyncio.gather(*asking)
            assert {answer.status for answer in answers} == {200}
            assert order == [b"/%d" % number for number in range(20)]
            assert upstream.accepted == 1

    async def test_a_wait_that_is_too_long_is_overloaded(self, stage):
        """A request that waits too long for a connection gets 503."""

        async def answer(_seen, _writer):
            await asyncio.sleep(60)

        async with stage(answer, connections=1, connect_timeout=0.2, response_timeout=1.0) as (_, sidecar):
            first = asyncio.create_task(ask(sidecar.port, get()))
            await eventually(lambda: sidecar.upstream.connections()["active"] == 1)
            assert (await ask(sidecar.port, get())).body == b"overloaded"
            assert (await first).status == 504

    async def test_event_streams_leave_the_count(self, stage):
        """An event stream leaves the count of ordinary connections."""
        events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

        async def answer(seen: Seen, _writer):
            return events if b"/events" in seen.line else OK

        async with stage(answer, connections=1) as (_, sidecar), raw_client(sidecar.port) as client:
            await client.send(get("/events"))
            await client.reader.readuntil(b"\r\n\r\n")
            assert (await ask(sidecar.port, get())).status == 200
            assert sidecar.upstream.connections() == {"idle": 1, "active": 0, "streaming": 1, "waiting": 0}


class TestDisconnects:
    """When the client goes away."""

    @pytest.mark.parametrize("how", ["close", "reset"])
    async def test_the_upstreams_request_is_cancelled(self, stage, how):
        """A request that was not answered yet is cancelled, and its connection is closed."""

        async def silence(_seen, _writer):
            await asyncio.sleep(60)

        async with stage(silence, patience=Timeouts(half_closed=0.2)) as (upstream, sidecar):
            async with raw_client(sidecar.port) as client:
                await client.send(post())
                await eventually(lambda: upstream.seen)
                if how == "reset":
                    client.reset()
            await eventually(lambda: sidecar.upstream.connections()["active"] == 0)
            assert sidecar.upstream.connections()["idle"] == 0

    async def test_during_an_upload(self, stage):
        """The upstream never sees a whole request."""
        async with stage() as (upstream, sidecar):
            async with raw_client(sidecar.port) as client:
                await client.send(post("/", b"x" * 100_000)[:-1])
                await eventually(lambda: upstream.open)
            await eventually(lambda: upstream.open == 0)
            assert upstream.seen == []

    async def test_during_an_upload_that_nobody_reads(self, stage):
        """A reset is noticed although the client is not being read."""

        async def deaf(_seen, _writer):
            await asyncio.sleep(60)

        async with stage(deaf, read_body=False) as (_, sidecar):
            async with raw_client(sidecar.port) as client:
                client.writer.write(get("/", "Content-Length: 50000000", method="POST") + b"x" * 20_000_000)
                (connection,) = sidecar.server.shared.connections
                await eventually(lambda: connection.reading_held)
                client.reset()
            await eventually(lambda: not sidecar.server.shared.connections)

    async def test_during_a_stream(self, stage):
        """A quiet stream is closed with its client."""
        events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with stage(events) as (_, sidecar):
            async with raw_client(sidecar.port) as client:
                await client.send(get())
                await client.reader.readuntil(b"\r\n\r\n")
                assert sidecar.upstream.connections()["streaming"] == 1
            await eventually(lambda: sidecar.upstream.connections()["streaming"] == 0)
