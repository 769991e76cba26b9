"""Hostile bytes: each gets its one answer, the connection is closed, and the upstream sees no request but good ones."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.connected import Connected
from tests.support.wire import OK, RawClient, raw_client, raw_upstream, read_answer

HOST = b"Host: memory.example\r\n"


@dataclass(frozen=True)
class Case:
    """What is sent, and the statuses of all answers that come before the connection is closed."""

    name: str
    data: bytes
    statuses: tuple[int, ...] = (400,)
    accepted: int = 0


def case(name: str, data: bytes, *statuses: int, accepted: int = 0) -> Case:
    return Case(name, data, statuses or (400,), accepted)


def get(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"

CASES = [
    # Framing
    case("length and coding", post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n")),
    case("coding and length", post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n")),
    case("repeated length", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    case("contradicting lengths", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello")),
    case("list of lengths", post(b"Content-Length: 5, 5", body=b"hello")),
    case("signed length", post(b"Content-Length: +5", body=b"hello")),
    case("negative length", post(b"Content-Length: -5", body=b"hello")),
    case("hexadecimal length", post(b"Content-Length: 0x5", body=b"hello")),
    case("empty length", post(b"Content-Length:", body=b"hello")),
    case("huge length", post(b"Content-Length: 99999999999999999999", body=b"hello")),
    case("unicode digits", post("Content-Length: \u0665".encode(), body=b"hello")),
    case("gzip coding", post(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n")),
    case("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    case("chunked, gzip", post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    case("chunked twice", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    case("identity coding", post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    case("empty coding", post(b"Transfer-Encoding:", body=b"0\r\n\r\n")),
    case("misspelt coding", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    case("chunked with parameter", post(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n")),
    case("coding in HTTP/1.0", b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n\r\n0\r\n\r\n"),
    case("space before colon", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    case("vertical tab before coding", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    # Chunks; the head was good, so the answer comes in place of the upstream's
    case("chunk size not hexadecimal", post(CHUNKED, body=b"5x\r\nhello\r\n0\r\n\r\n")),
    case("chunk size missing", post(CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n")),
    case("negative chunk size", post(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n")),
    case("prefixed chunk size", post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n")),
    case("oversized chunk size", post(CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n")),
    case("chunk longer than its size", post(CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n")),
    case("chunk ended by a line feed", post(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n")),
    case("chunk size ended by a line feed", post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n")),
    case("space after chunk size", post(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n")),
    case("line feed in extension", post(CHUNKED, body=b"5;a=b\nc\r\nhello\r\n0\r\n\r\n")),
    case("NUL in extension", post(CHUNKED, body=b"5;a=\0\r\nhello\r\n0\r\n\r\n")),
    case("trailer without colon", post(CHUNKED, body=b"0\r\nnonsense\r\n\r\n")),
    case("folded trailer", post(CHUNKED, body=b"0\r\nA: b\r\n c\r\n\r\n")),
    case("line feed in trailer", post(CHUNKED, body=b"0\r\nA: b\nB: c\r\n\r\n")),
    # Host
    case("no Host", b"GET / HTTP/1.1\r\n\r\n"),
    case("two Hosts", get(b"Host: other.example")),
    case("the same Host twice", get(b"Host: memory.example")),
    case("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    case("list of Hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    case("Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    case("Host with a user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    case("Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    case("Host with two ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n"),
    case("two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    # Lines
    case("bare line feeds", b"GET / HTTP/1.1\nHost: memory.example\n\n"),
    case("one bare line feed", b"GET / HTTP/1.1\r\nHost: memory.example\nA: b\r\n\r\n"),
    case("bare line feed at the end", b"GET / HTTP/1.1\r\nHost: memory.example\r\n\n"),
    case("bare carriage return", get(b"A: b\rC: d")),
    case("carriage returns for line ends", b"GET / HTTP/1.1\rHost: memory.example\r\r"),
    case("folded field", get(b"A: b", b" c")),
    case("field folded by a tab", get(b"A: b", b"\tc")),
    case("first field folded", b"GET / HTTP/1.1\r\n Host: memory.example\r\n\r\n"),
    case("NUL in a value", get(b"A: b\0c")),
    case("DEL in a value", get(b"A: b\x7fc")),
    case("escape in a value", get(b"A: b\x1bc")),
    case("field without colon", get(b"nonsense")),
    case("field without name", get(b": b")),
    case("space in a name", get(b"A B: c")),
    case("space before a colon", get(b"A : b")),
    case("non-ASCII name", get("\u00c4: b".encode())),
    case("brackets in a name", get(b"A[0]: b")),
    case("line feed before the request", b"\nGET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    # Request line
    case("HTTP/0.9", b"GET /\r\n"),
    case("HTTP/0.9 with fields", b"GET /\r\n" + HOST + b"\r\n"),
    case("HTTP/2.0", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    case("HTTP/1.2", b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
    case("HTTP/1.10", b"GET / HTTP/1.10\r\n" + HOST + b"\r\n"),
    case("lower-case protocol", b"GET / http/1.1\r\n" + HOST + b"\r\n"),
    case("another protocol", b"GET / ICAP/1.1\r\n" + HOST + b"\r\n"),
    case("two spaces", b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("tab for a space", b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("space in the target", b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("space after the version", b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    case("no target", b"GET HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("NUL in the target", b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("non-ASCII target", "GET /\u00e4 HTTP/1.1\r\n".encode() + HOST + b"\r\n"),
    case("relative target", b"GET a/b HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("authority for GET", b"GET memory.example:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("asterisk for GET", b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("another scheme", b"GET ftp://memory.example/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("method with brackets", b"G{T / HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("no method", b" / HTTP/1.1\r\n" + HOST + b"\r\n"),
    case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    case("CONNECT", b"CONNECT memory.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    case("CONNECT with a path", b"CONNECT /health HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    case("CONNECT with an absolute target", b"CONNECT http://memory.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    case("CONNECT with an asterisk", b"CONNECT * HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    case("CONNECT in lower case", b"connect / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    case("CONNECT in HTTP/1.0", b"CONNECT / HTTP/1.0\r\n\r\n", 405),
    case(
        "CONNECT with a request for a body",
        b"CONNECT / HTTP/1.1\r\n" + HOST + b"Content-Length: 40\r\n\r\n" + get(),
        405,
    ),
    case("CONNECT with chunks", b"CONNECT / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n\r\n0\r\n\r\n" + get(), 405),
    case("CONNECT pipelined", get() + b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n" + get(), 200, 405, accepted=1),
    case("CONNECT without Host", b"CONNECT memory.example:443 HTTP/1.1\r\n\r\n", 405),
    # Size
    case("101 fields", get(*[b"a:"] * 100), 431),
    # Behind a good request: its answer comes first
    case("garbage pipelined", get() + b"garbage\r\n\r\n", 200, 400, accepted=1),
    case("smuggled behind a length", post(b"Content-Length: 3", body=b"abcd / HTTP/1.1\r\n\r\n"), 200, 400, accepted=1),
    case("two lengths pipelined", get() + post(b"Content-Length: 1", b"Content-Length: 2"), 200, 400, accepted=1),
    case(
        "body under an upgrade",
        b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 18\r\n\r\n"
        b"GET /x HTTP/1.1\r\n\r" + b"\n",
        200,
        400,
        accepted=1,
    ),
]  # fmt: skip


@pytest.fixture
async def stage(running):
    """An upstream that answers everything, and a sidecar in front of it."""
    async with raw_upstream(OK) as upstream, running(upstream.url) as sidecar:
        yield upstream, sidecar


async def statuses(client: RawClient) -> tuple[int, ...]:
    """Read answers until the other side closes."""
    got = []
    while not client.reader.at_eof():
        try:
            got.append((await read_answer(client.reader)).status)
        except (asyncio.IncompleteReadError, ConnectionError):
            break
    return tuple(got)


@pytest.mark.parametrize("hostile", CASES, ids=lambda hostile: hostile.name)
async def test_hostile_bytes_get_their_one_answer_and_reach_nobody(stage, hostile: Case):
    """Each case gets its status, in its turn, and ends the connection; the upstream sees good requests only."""
    upstream, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await client.send(hostile.data)
        assert await statuses(client) == hostile.statuses
    await sidecar.quiet()
    assert len(upstream.seen) == hostile.accepted


@pytest.mark.long
@pytest.mark.parametrize("hostile", CASES, ids=lambda hostile: hostile.name)
async def test_hostile_bytes_may_come_in_two_pieces_cut_anywhere(stage, hostile: Case):
    """The answers, and what reaches the upstream, are the same wherever the network cuts the bytes."""
    upstream, sidecar = stage
    for cut in range(1, len(hostile.data)):
        async with raw_client(sidecar.port) as client:
            await client.send(hostile.data[:cut])
            await asyncio.sleep(0.001)
            with contextlib.suppress(ConnectionError):
                await client.send(hostile.data[cut:])
            assert await statuses(client) == hostile.statuses, hostile.data[:cut]
    await sidecar.quiet()
    assert len(upstream.seen) == hostile.accepted * (len(hostile.data) - 1)


@pytest.mark.parametrize("hostile", CASES, ids=lambda hostile: hostile.name)
async def test_where_bytes_are_cut_changes_no_answer(hostile: Case):
    """Each case is cut at each byte, on a connection without sockets."""
    for cut in range(1, len(hostile.data)):
        connection = Connected(answering)
        connection.receive(hostile.data[:cut])
        await settle()
        connection.receive(hostile.data[cut:])
        await settle()
        assert connection.statuses == hostile.statuses, hostile.data[:cut]
        assert connection.transport.ended


@pytest.mark.parametrize("hostile", CASES, ids=lambda hostile: hostile.name)
async def test_bytes_may_come_one_at_a_time(hostile: Case):
    """Each case comes byte by byte, on a connection without sockets."""
    connection = Connected(answering)
    for byte in hostile.data:
        connection.receive(bytes([byte]))
        await settle()
    assert connection.statuses == hostile.statuses


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer: as a guarded request is served."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.request":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"0")]})
        await send({"type": "http.response.body"})


async def settle() -> None:
    """Let the application do what it can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("size", "status"), [(64 * 1024, 200), (64 * 1024 + 1, 431), (1 << 20, 431)], ids=["largest", "one more", "a lot"]
)
async def test_a_head_may_be_64_kib_and_no_more(stage, size, status):
    """The limit counts the request line, the fields and the empty line."""
    _, sidecar = stage
    start = b"GET / HTTP/1.1\r\n" + HOST + b"A: "
    async with raw_client(sidecar.port) as client:
        await client.send(start + b"x" * (size - len(start) - 4) + b"\r\n\r\n")
        assert (await client.answer()).status == status


async def test_a_hundred_fields_are_taken(stage):
    """Exactly the limit is accepted."""
    _, sidecar = stage
    async with raw_client(sidecar.port) as client:
        await client.send(get(*[b"a:"] * 99))
        assert (await client.answer()).status == 200
