"""Whatever a session service answers, nothing but proof of the session admits a write, and nothing is ever `absent`
but what the service itself says is."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
import respx

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decisions import Policy
from sidecar.guard.guard import Guard
from sidecar.guard.verdicts import Unknown, Untrustworthy
from sidecar.model import Call, Extraction, Reason, Reference, RefusalFormat, Refusals, RuleKind
from sidecar.profile.session_api import DEFAULT_API
from sidecar.session_client.answers import MOST_ANSWER
from sidecar.session_client.client import HttpSessionService
from sidecar.session_client.transport import Transport
from sidecar.testing import FakeDiscovery, FakeTelemetry
from tests.support.callers import HttpxCaller
from tests.support.sessions import BASE, error, session

ANN = Reference("s-1", "ann")
HTML = "<html><body><h1>It works!</h1></body></html>"


class Endless(httpx.AsyncByteStream):
    """A body that never ends: at once, or a byte at a time."""

    def __init__(self, piece: bytes, pause: float | None = None) -> None:
        self._piece = piece
        self._pause = pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self._piece
            if self._pause is not None:
                await asyncio.sleep(self._pause)


class Cut(httpx.AsyncByteStream):
    """A body that breaks off."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"session_id": "s-1", "user_id": "ann", "sta'
        raise httpx.ReadError("connection reset")


@pytest.fixture(autouse=True)
def _one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage asked for again is garbage again; that has tests of its own."""
    monkeypatch.setattr("sidecar.session_client.retries._PAUSES", ())


def raw(code: int, body: bytes | str, content_type: str = "application/json", **headers: str) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    return httpx.Response(code, content=content, headers={"content-type": content_type, **headers})


UNAVAILABLE = Unknown
LIE = Untrustworthy

# Each holds for a create and for a look alike.
GARBAGE: dict[str, tuple[object, type]] = {
    "connection refused": (httpx.ConnectError("refused"), UNAVAILABLE),
    "connect time-out": (httpx.ConnectTimeout("late"), UNAVAILABLE),
    "read time-out": (httpx.ReadTimeout("late"), UNAVAILABLE),
    "no connection free": (httpx.PoolTimeout("full"), UNAVAILABLE),
    "closed without an answer": (httpx.RemoteProtocolError("Server disconnected"), UNAVAILABLE),
    "not HTTP at all": (httpx.RemoteProtocolError("illegal status line"), UNAVAILABLE),
    "an error of the system": (OSError("no route to host"), UNAVAILABLE),
    "cut in the middle": (lambda: httpx.Response(200, stream=Cut()), UNAVAILABLE),
    "drips for ever": (lambda: httpx.Response(200, stream=Endless(b" ", 0.01)), UNAVAILABLE),
    "500": (httpx.Response(500), UNAVAILABLE),
    "500 with a perfect session": (session(500), UNAVAILABLE),
    "502 from a proxy": (raw(502, HTML, "text/html"), UNAVAILABLE),
    "503 saying not found": (error(503, "session_not_found"), UNAVAILABLE),
    "504": (httpx.Response(504), UNAVAILABLE),
    "599": (httpx.Response(599), UNAVAILABLE),
    "301 elsewhere": (httpx.Response(301, headers={"location": "http://elsewhere.test/"}), UNAVAILABLE),
    "302 with a perfect session": (
        httpx.Response(302, headers={"location": BASE}, content=session(200).content),
        UNAVAILABLE,
    ),
    "307 to itself": (httpx.Response(307, headers={"location": f"{BASE}/api/v1/sessions/s-1"}), UNAVAILABLE),
    "304": (httpx.Response(304), UNAVAILABLE),
    "408": (httpx.Response(408), UNAVAILABLE),
    "425": (httpx.Response(425), UNAVAILABLE),
    "429": (httpx.Response(429), UNAVAILABLE),
    "endless": (lambda: httpx.Response(200, stream=Endless(b" " * 65536)), LIE),
    "too long by a byte": (raw(200, session(200).content.ljust(MOST_ANSWER + 1)), LIE),
    "200 HTML": (raw(200, HTML, "text/html"), LIE),
    "200 nothing": (httpx.Response(200), LIE),
    "200 null": (raw(200, "null"), LIE),
    "200 a list of the session": (raw(200, b"[" + session(200).content + b"]"), LIE),
    "200 a string": (raw(200, '"s-1"'), LIE),
    "200 true": (raw(200, "true"), LIE),
    "200 an empty object": (raw(200, "{}"), LIE),
    "200 an error": (error(200, "session_not_found"), LIE),
    "200 wrapped": (raw(200, b'{"data": ' + session(200).content + b"}"), LIE),
    "200 not closed": (raw(200, session(200).content[:-1]), LIE),
    "200 twice": (raw(200, session(200).content * 2), LIE),
    "200 NaN": (raw(200, '{"session_id": "s-1", "user_id": "ann", "status": "active", "metadata": NaN}'), LIE),
    "200 not UTF-8": (raw(200, session(200).content.replace(b"ann", b"\xff")), LIE),
    "200 UTF-16": (raw(200, session(200).text.encode("utf-16")), LIE),
    "200 nested deeply": (raw(200, '{"metadata":' * 5000 + "{}" + "}" * 5000), LIE),
    "200 in a coding nobody asked for": (
        lambda: raw(200, gzip.compress(session(200).content), **{"content-encoding": "gzip"}),
        LIE,
    ),
    "200 with its coding said twice": (
        httpx.Response(200, content=session(200).content, headers=[("content-encoding", "identity")] * 2),
        LIE,
    ),
    "200 without id": (session(200, session_id=None), LIE),
    "200 another id": (session(200, session_id="s-2"), LIE),
    "200 the id in other letters": (session(200, session_id="S-1"), LIE),
    "200 the id and a space": (session(200, session_id="s-1 "), LIE),
    "200 the id as a number": (session(200, session_id=1), LIE),
    "200 the id in a list": (session(200, session_id=["s-1"]), LIE),
    "200 without owner": (session(200, user_id=None), LIE),
    "200 the owner as an object": (session(200, user_id={"id": "ann"}), LIE),
    "200 without status": (session(200, status=None), LIE),
    "200 an unknown status": (session(200, status="archived"), LIE),
    "200 a status that is none": (session(200, status=True), LIE),
    "202": (session(202), LIE),
    "204": (httpx.Response(204), LIE),
    "206": (session(206), LIE),
    "226": (session(226), LIE),
    "400": (error(400, "unreadable_body"), LIE),
    "401": (error(401, "unauthorized"), LIE),
    "402": (httpx.Response(402), LIE),
    "404 HTML": (raw(404, HTML, "text/html"), LIE),
    "404 nothing": (httpx.Response(404), LIE),
    "404 of another program": (raw(404, '{"detail": "Not Found"}'), LIE),
    "404 no such route": (error(404, "no_such_route"), LIE),
    "404 a reason that is none": (raw(404, '{"detail": "?", "reason": null}'), LIE),
    "405": (httpx.Response(405), LIE),
    "409 HTML": (raw(409, HTML, "text/html"), LIE),
    "410 HTML": (raw(410, HTML, "text/html"), LIE),
    "410 without a reason": (raw(410, '{"detail": "Gone"}'), LIE),
    "413": (error(413, "body_too_large"), LIE),
    "418": (httpx.Response(418, text="I'm a teapot"), LIE),
    "422": (error(422, "invalid_session_id"), LIE),
}


class Garbled(httpx.AsyncBaseTransport):
    """Counts what it is asked, and answers garbage; a callable makes a fresh answer each time."""

    def __init__(self, answer: object) -> None:
        self.methods: list[str] = []
        self.router = respx.Router(assert_all_called=False)
        self.router.route().mock(side_effect=self._answer if not isinstance(answer, Exception) else answer)
        self._garbage = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.methods.append(request.method)
        return await self.router.async_handler(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        garbage = self._garbage
        if callable(garbage):
            return garbage()
        return httpx.Response(garbage.status_code, headers=garbage.headers, content=garbage.content)


class House:
    """A guard over a garbled session service."""

    def __init__(self, answer: object, timeout: float = 30.0) -> None:
        self.transport = Garbled(answer)
        self.telemetry = FakeTelemetry()
        discovery = FakeDiscovery([BASE])
        self.service = HttpSessionService(
            HttpxCaller(self.transport), discovery, self.telemetry, DEFAULT_API, timeout=timeout
        )
        self.known = SessionCache(100, 300.0)
        self.guard = Guard(self.known, self.service, self.telemetry, Policy(timeout))

    async def reasons(self, *references: Reference) -> list[Reason | None]:
        decision = await self.guard.authorize(
            Extraction(RefusalFormat.BATCH, tuple(Call(reference) for reference in references))
        )
        assert isinstance(decision, Refusals)
        return [refusal and refusal.reason for refusal in decision.refusals]


REASON = {UNAVAILABLE: Reason.SESSION_SERVICE_UNAVAILABLE, LIE: Reason.SESSION_SERVICE_UNTRUSTWORTHY}


def patience(name: str) -> float:
    """Only what never ends has to be waited for; everything else is given time, however busy the machine."""
    return 0.1 if name == "drips for ever" else 30.0


def test_the_table_is_long_enough():
    """The table has at least thirty kinds of garbage."""
    assert len(GARBAGE) >= 30


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_admits_nothing(name):
    """A first write that is answered with garbage is refused, and nothing is remembered."""
    answer, kind = GARBAGE[name]
    house = House(answer, patience(name))
    assert await house.reasons(ANN) == [REASON[kind]]
    assert house.known.recall("s-1") is None
    assert set(house.transport.methods) <= {"PUT", "GET"}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_is_never_absence(name):
    """Garbage creates no session, neither for a `require` rule nor in a batch."""
    answer, kind = GARBAGE[name]
    house = House(answer, patience(name))
    required = Reference("s-1", "ann", RuleKind.REQUIRE)
    assert await house.reasons(required) == [REASON[kind]]
    assert REASON[kind] in await house.reasons(ANN, Reference("s-2", "ann"))
    assert set(house.transport.methods) == {"GET"}
    assert isinstance(await House(answer, patience(name)).service.look(ANN), kind)


CREATE_ONLY = {
    "another owner": session(200, user_id="bob"),
    "created for another owner": session(201, user_id="bob"),
    "created under another id": session(201, session_id="s-2"),
    "created without proof": httpx.Response(201),
    "created, with a page": raw(201, HTML, "text/html"),
    "created, says a location": httpx.Response(201, headers={"location": "/api/v1/sessions/s-1"}),
    "absent after a create": error(404, "session_not_found"),
    "forbidden": error(403, "session_owned_by_another_user"),
}


@pytest.mark.parametrize("name", CREATE_ONLY)
async def test_a_create_without_proof_admits_nothing(name):
    """A create call permits a write only if its answer names the session and the user that were asked for."""
    house = House(CREATE_ONLY[name])
    assert await house.reasons(ANN) == [Reason.SESSION_SERVICE_UNTRUSTWORTHY]
    assert house.transport.methods[0] == "PUT"
    assert "PUT" not in house.transport.methods[1:]
    assert house.known.recall("s-1") is None


async def test_a_service_that_swaps_answers_admits_nobody():
    """An answer about another session than the one asked for is not believed."""
    house = House(lambda: session(200, session_id="s-2"))
    assert await house.reasons(ANN) == [Reason.SESSION_SERVICE_UNTRUSTWORTHY]
    house.service.mints = False
    house.transport._garbage = session(200, session_id="s-1")
    assert await house.reasons(Reference("s-2", "ann")) == [Reason.SESSION_SERVICE_UNTRUSTWORTHY]


@contextlib.asynccontextmanager
async def over_the_wire(answer: bytes, seconds: float):
    """A client whose session service, a real server, gives these bytes to every call and closes the connection."""

    async def give(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(give, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = Transport()
    try:
        yield HttpSessionService(transport, FakeDiscovery([base]), FakeTelemetry(), DEFAULT_API, timeout=seconds)
    finally:
        await transport.aclose()
        server.close()
        await server.wait_closed()


ON_THE_WIRE = {name: answer for name, (answer, _) in GARBAGE.items() if isinstance(answer, httpx.Response)}


@pytest.mark.parametrize("name", [*ON_THE_WIRE, *CREATE_ONLY])
async def test_the_wire_says_what_httpx_says(name):
    """The pool's own reading of a response and httpx's give the same verdict, for a look and a create."""
    answer = {**ON_THE_WIRE, **CREATE_ONLY}[name]
    head = b"".join(b"%b: %b\r\n" % field for field in answer.headers.raw)
    async with over_the_wire(b"HTTP/1.1 %d X\r\n%b\r\n%b" % (answer.status_code, head, answer.content), 30.0) as real:
        through_httpx = House(answer).service
        assert await real.look(ANN) == await through_httpx.look(ANN)
        assert await real.ensure(ANN) == await through_httpx.ensure(ANN)


@pytest.mark.parametrize("retry_after", ["3", "99999", "100000", "-1", "x", "1.5", ""])
async def test_the_wire_names_the_pause_that_httpx_names(retry_after):
    """`Retry-After` is read as whole seconds, and otherwise ignored."""
    answer = httpx.Response(503, headers={"retry-after": retry_after, "content-length": "0"})
    raw_answer = f"HTTP/1.1 503 X\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n".encode()
    async with over_the_wire(raw_answer, 30.0) as real:
        assert await real.look(ANN) == await House(answer).service.look(ANN)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{",
        b"HTTP/1.1 99999 what\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"",
    ],
)
async def test_garbage_on_the_wire_is_an_outage(garbage):
    """Garbage on a real connection is an outage: nothing crashes or hangs."""
    async with over_the_wire(garbage, 0.5) as service:
        assert isinstance(await service.ensure(ANN), Unknown)
        assert isinstance(await service.look(ANN), Unknown)
