"""The direct way and the framework's give the same answers, to the byte, and count them alike."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

import pytest

from service_kit.sql.database import Database, DatabaseUnavailable
from session_service import app as assembly
from session_service.app import SessionService
from session_service.direct import DirectCalls
from session_service.settings import Settings
from tests.session_service.conftest import migrations

_TIME = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z")
JSON = [(b"content-type", b"application/json")]


class Asked:
    """An ASGI application and the way to ask it: what goes in and what comes out are bytes."""

    def __init__(self, app) -> None:
        self._app = app

    async def __call__(self, method, path, query, headers, pieces, *, declared=True, leaves=False):
        length = [(b"content-length", b"%d" % sum(map(len, pieces)))] if declared and pieces else []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"sessions"), *headers, *length],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }
        given = pieces or [b""]
        messages = [
            {"type": "http.request", "body": piece, "more_body": leaves or number < len(given)}
            for number, piece in enumerate(given, 1)
        ]
        sent = []

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        failure = None
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            failure = type(error)
        starts = [(one["status"], one["headers"]) for one in sent if one["type"] == "http.response.start"]
        body = b"".join(one.get("body", b"") for one in sent)
        return failure, [(status, _untimed(headers)) for status, headers in starts], _TIME.sub(b"T", body)


def _untimed(headers):
    """Times are of one length but for their fraction, which may be missing; so then is the length of the answer."""
    return [(name, value) for name, value in headers if name != b"content-length"]


@contextlib.asynccontextmanager
async def both(tmp_path, monkeypatch) -> AsyncIterator[tuple[Asked, Asked]]:
    """The service with the direct way and without it, each with a database of its own."""
    async with contextlib.AsyncExitStack() as stack:
        asked = []
        for name in ("direct", "framework"):
            url = f"sqlite:///{tmp_path / name}.db"
            await migrations(url).move()
            if name == "framework":
                monkeypatch.setattr(assembly, "DirectCalls", lambda app, sessions: app)
            service = SessionService(Settings(SESSION_DATABASE_URL=url))
            await stack.enter_async_context(service.running())
            asked.append(Asked(service.app))
        yield asked[0], asked[1]


IDS = ["s-1", "ended", "gone", "taken", "never", "a.b~c:d@e|f+g=h-i_j", "%73-1", "a%20b", "a%2Fb", "..", "a" * 255]
IDS += ["a" * 256, "%E4%BD%A0", "a%0A", "", "s-1/end", "s-1/"]
QUERIES = [b"", b"user_id=ann", b"user_id=bob", b"user_id=%61nn", b"user_id=a+b", b"user_id=a%2Bb", b"user_id="]
QUERIES += [b"user_id", b"user_id=ann&user_id=ann", b"user_id=ann&x=1", b"x=1", b"user_id=a=b", b"user_id=%FF", b"&"]
QUERIES += [b"user_id=ann&", b"&user_id=ann", b"user_id=ann;x=1", b"%75ser_id=ann", b"user_id=" + b"a" * 256, b"?"]
BODIES = [
    b'{"user_id": "ann"}',
    b'{"user_id":"bob"}',
    b' {"user_id": "ann", "metadata": {"source": "x", "n": [1, 2.5, null, true]}} ',
    '{"user_id": "ann", "conversation_data": {"text": "\u4f60\u597d \u00e9 \\ud83d\\ude00"}}'.encode(),
    b'{"user_id": "ann", "metadata": {"big": 123456789012345678901234567890, "small": 1e-400, "many": 1e400}}',
    b'{"user_id": "ann", "metadata": {"n": NaN}}',
    b'{"user_id": "ann", "metadata": {"s": "\\ud800"}}',
    b'{"user_id": "ann", "metadata": null, "conversation_data": null}',
    b'{"user_id": "ann", "metadata": []}',
    b'{"user_id": "ann", "more": 1}',
    b'{"user_id": "bob", "user_id": "ann"}',
    b'{"user_id": "\\u0061nn"}',
    b'{"user_id": "a b"}',
    b'{"user_id": 7}',
    b'{"user_id": null}',
    b"{}",
    b"[]",
    b'"ann"',
    b"null",
    b"{",
    b"",
    b'{"user_id": "ann"} x',
    b'\xef\xbb\xbf{"user_id": "ann"}',
    '{"user_id": "ann"}'.encode("utf-16"),
    '{"user_id": "ann"}'.encode("utf-32"),
    b'{"user_id": "\xff"}',
    b'{"user_id": "ann", "metadata": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    b'{"user_id": "ann", "metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
    b'{"user_id": "ann", "metadata": ' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}",
    b'{"user_id": "ann", "metadata": {"a": "' + b"x" * 70_000 + b'"}}',
]
HEADERS = [
    JSON,
    [],
    [(b"content-type", b"application/json; charset=utf-8")],
    [(b"content-type", b"APPLICATION/JSON")],
    [(b"content-type", b"text/plain")],
    [(b"content-type", b"application/merge+json")],
    [*JSON, *JSON],
    [*JSON, (b"content-type", b"text/plain")],
    [*JSON, (b"x-request-id", b"r-1"), (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")],
]


async def prepared(ask: Asked) -> None:
    """Sessions in every state there is."""
    for session_id, user in (("s-1", b"ann"), ("ended", b"ann"), ("gone", b"ann"), ("taken", b"bob")):
        await ask("PUT", f"/api/v1/sessions/{session_id}", b"", JSON, [b'{"user_id": "%b"}' % user])
    await ask("POST", "/api/v1/sessions/ended/end", b"", [], [])
    await ask("DELETE", "/api/v1/sessions/gone", b"", [], [])


async def agreeing(one: Asked, other: Asked, *what, **how) -> None:
    assert await one(*what, **how) == await other(*what, **how), (what, how)


async def counted(ask: Asked) -> list[bytes]:
    """The counts of requests, by method, route and status."""
    _, _, body = await ask("GET", "/metrics", b"", [], [])
    return sorted(line for line in body.splitlines() if line.startswith(b"session_service_requests_total{"))


async def test_both_ways_answer_alike(tmp_path, monkeypatch) -> None:
    """Every id with every query, every body in every dress, in one order on both; the counts agree too."""
    async with both(tmp_path, monkeypatch) as (direct, framework):
        await prepared(direct)
        await prepared(framework)
        for session_id, query, method in itertools.product(IDS, QUERIES, ("GET", "HEAD")):
            await agreeing(direct, framework, method, f"/api/v1/sessions/{session_id}", query, [], [])
        dressed = [(body, JSON) for body in BODIES] + list(itertools.product(BODIES[:4:3], HEADERS[1:]))
        for number, (body, headers) in enumerate(dressed):
            for session_id in (f"new-{number}", "s-1", "gone"):
                await agreeing(direct, framework, "PUT", f"/api/v1/sessions/{session_id}", b"", headers, [body])
        for session_id, query in itertools.product(IDS, QUERIES):
            await agreeing(direct, framework, "PUT", f"/api/v1/sessions/{session_id}", query, JSON, [BODIES[0]])
        for method in ("GET", "POST", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
            await agreeing(direct, framework, method, "/api/v1/sessions/s-1", b"", JSON, [BODIES[0]])
        assert await counted(direct) == await counted(framework)


@pytest.mark.parametrize("body", BODIES[:3])
async def test_both_ways_read_a_body_in_pieces(tmp_path, monkeypatch, body) -> None:
    """Of declared length or not, whole or broken off."""
    async with both(tmp_path, monkeypatch) as (direct, framework):
        pieces = [body[:5], b"", body[5:9], body[9:]]
        for number, (declared, leaves) in enumerate(itertools.product((True, False), repeat=2)):
            path = f"/api/v1/sessions/pieces-{number}"
            await agreeing(direct, framework, "PUT", path, b"", JSON, pieces, declared=declared, leaves=leaves)
        await agreeing(direct, framework, "PUT", "/api/v1/sessions/large", b"", JSON, [b" " * (11 << 20)])


async def test_both_ways_take_a_length_of_any_number_of_digits(tmp_path, monkeypatch) -> None:
    """The server in front reads leading zeros as RFC 9110, section 8.6, allows them."""
    async with both(tmp_path, monkeypatch) as (direct, framework):
        length = b"%d" % len(BODIES[0])
        for zeros in (1, 10, 5_000):
            headers = [*JSON, (b"content-length", b"0" * zeros + length)]
            path = f"/api/v1/sessions/zeros-{zeros}"
            await agreeing(direct, framework, "PUT", path, b"", headers, [BODIES[0]], declared=False)


async def test_both_ways_say_alike_that_the_database_is_away(tmp_path, monkeypatch) -> None:
    """A 503 with `Retry-After`."""

    async def away(*_):
        raise DatabaseUnavailable("away")

    async with both(tmp_path, monkeypatch) as (direct, framework):
        monkeypatch.setattr(Database, "read", away)
        for method, body in (("GET", []), ("PUT", [BODIES[0]])):
            await agreeing(direct, framework, method, "/api/v1/sessions/s-1", b"", JSON, body)
        _, [(status, headers)], _ = await direct("GET", "/api/v1/sessions/s-1", b"", [], [])
        assert (status, dict(headers)[b"retry-after"]) == (503, b"1")


async def test_plain_calls_never_reach_the_framework(tmp_path) -> None:
    """What is compared above are two ways indeed."""
    url = f"sqlite:///{tmp_path / 'sessions'}.db"
    await migrations(url).move()
    service = SessionService(Settings(SESSION_DATABASE_URL=url))
    reached = []

    async def framework(scope, _receive, _send):
        reached.append(scope["method"])

    async with service.running():
        ask = Asked(DirectCalls(framework, service.sessions))
        await ask("PUT", "/api/v1/sessions/s-1", b"", JSON, [BODIES[0]])
        await ask("GET", "/api/v1/sessions/s-1", b"user_id=ann", [], [])
        assert reached == []
        await ask("PUT", "/api/v1/sessions/s-1", b"", [], [BODIES[0]])
    assert reached == ["PUT"]
