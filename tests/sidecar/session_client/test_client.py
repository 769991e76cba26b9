"""The session service over HTTP: the requests it sends, what it makes of good answers, and how long it insists."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import orjson
import pytest

from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone, Unknown, Untrustworthy
from sidecar.model import Reference, Session, SessionStatus
from sidecar.profile.session_api import DEFAULT_API, IdEquality
from tests.support.sessions import BASE, Recorder, error, session, target

ANN = Reference("s-1", "ann")
ANNS = Session("ann", SessionStatus.ACTIVE)


@pytest.fixture
def recorder():
    """A session service of our own kind whose answers a test sets."""
    return Recorder(DEFAULT_API)


async def test_ensure_is_one_put(recorder):
    """The request has the method, target, fields and body of the contract, and nothing else."""
    recorder.answers = [session(201)]
    assert await recorder.service.ensure(ANN) == Created(ANNS)
    [request] = recorder.requests
    body = b'{"user_id":"ann","metadata":{"source":"session-sidecar"}}'
    assert (request.method, target(request), request.content) == ("PUT", "/api/v1/sessions/s-1", body)
    assert request.headers.raw == [
        (b"host", b"sessions.test:8205"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer secret"),
        (b"content-type", b"application/json"),
        (b"content-length", b"57"),
    ]


async def test_look_is_one_get(recorder):
    """The look names the user, so that the service refuses another user's session."""
    recorder.answers = [session(200)]
    assert await recorder.service.look(ANN) == Found(ANNS)
    [request] = recorder.requests
    assert (request.method, target(request)) == ("GET", "/api/v1/sessions/s-1?user_id=ann")
    assert request.content == b""
    assert "content-length" not in request.headers


async def test_ids_are_one_escaped_path_segment(recorder):
    """An id is sent as one percent-encoded segment, whatever characters it has."""
    recorder.answers = [session(201, session_id="a/b?c#d%e é", user_id="x&y=z")]
    reference = Reference("a/b?c#d%e é", "x&y=z")
    assert await recorder.service.ensure(reference) == Created(Session("x&y=z", SessionStatus.ACTIVE))
    [request] = recorder.requests
    assert target(request) == "/api/v1/sessions/a%2Fb%3Fc%23d%25e%20%C3%A9"
    assert orjson.loads(request.content)["user_id"] == "x&y=z"
    recorder.answers = [session(200, session_id="a/b?c#d%e é", user_id="x&y=z")]
    await recorder.service.look(reference)
    assert target(recorder.requests[1]).endswith("?user_id=x%26y%3Dz")


async def test_without_a_token_no_authorization_is_sent():
    """Without a token no `Authorization` field is sent."""
    recorder = Recorder(DEFAULT_API, token=None)
    recorder.answers = [session(201)]
    await recorder.service.ensure(ANN)
    assert "authorization" not in recorder.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (session(201), Created(ANNS)),
        (session(200), Found(ANNS)),
        (session(200, status="ended"), Found(Session("ann", SessionStatus.ENDED))),
        (session(200, status="deleted"), Found(Session("ann", SessionStatus.DELETED))),
        (error(409, "session_owned_by_another_user"), Conflict()),
        (error(410, "session_gone"), Gone()),
    ],
)
async def test_what_ensure_says(recorder, answer, expected):
    """Each answer of the contract to a PUT has its verdict."""
    recorder.answers = [answer]
    assert await recorder.service.ensure(ANN) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (session(200), Found(ANNS)),
        (session(200, user_id="bob"), Found(Session("bob", SessionStatus.ACTIVE))),
        (error(403, "session_owned_by_another_user"), Conflict()),
        (error(404, "session_not_found"), Absent()),
        (error(410, "session_gone"), Gone()),
    ],
)
async def test_what_look_says(recorder, answer, expected):
    """Each answer of the contract to a look has its verdict, another owner and absence included."""
    recorder.answers = [answer]
    assert await recorder.service.look(ANN) == expected


async def test_a_failure_is_tried_again_within_the_deadline(recorder):
    """A failure followed by a good answer within the deadline gives the good answer."""
    recorder.answers = [httpx.Response(503), httpx.ConnectError("refused"), session(201)]
    assert await recorder.service.ensure(ANN) == Created(ANNS)
    assert recorder.telemetry.notes == [
        ("session_call", "ensure", "unknown"),
        ("session_call", "ensure", "unknown"),
        ("session_call", "ensure", "created"),
    ]


async def test_trying_again_has_an_end(recorder):
    """Three failed attempts give Unknown."""
    recorder.answers = [httpx.Response(500)]
    assert isinstance(await recorder.service.ensure(ANN), Unknown)
    assert len(recorder.requests) == 3


async def test_what_is_certain_is_not_tried_again(recorder):
    """A verdict other than Unknown is not asked for again."""
    recorder.answers = [session(200, user_id="bob"), session(201)]
    assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)
    assert len(recorder.requests) == 1


async def test_a_service_that_names_its_time_is_left_alone_until_then(recorder):
    """A `Retry-After` beyond the deadline ends the attempts and is passed on."""
    recorder.answers = [httpx.Response(503, headers={"retry-after": "30"})]
    answer = await recorder.service.ensure(ANN)
    assert isinstance(answer, Unknown)
    assert answer.retry_after == 30
    assert len(recorder.requests) == 1


@pytest.mark.parametrize("nonsense", ["soon", "-1", "1e3", "٣", "999999999", "Wed, 21 Oct 2026 07:28:00 GMT", ""])
async def test_a_time_that_cannot_be_read_is_none(nonsense):
    """A `Retry-After` that is no number of seconds is ignored."""
    recorder = Recorder(DEFAULT_API, timeout=0.05)
    recorder.answers = [httpx.Response(503, headers=[(b"retry-after", nonsense.encode())])]
    answer = await recorder.service.ensure(ANN)
    assert isinstance(answer, Unknown)
    assert answer.retry_after is None


async def test_a_silent_service_is_an_outage_after_the_deadline():
    """One deadline covers all attempts, and an instance that stays silent is reported."""
    recorder = Recorder(DEFAULT_API, timeout=0.05)
    recorder.before = asyncio.Event().wait
    assert isinstance(await recorder.service.ensure(ANN), Unknown)
    assert recorder.discovery.reports == [(BASE, False)]


async def test_each_attempt_goes_to_the_next_instance(recorder):
    """Each attempt goes to the next instance, and those that cannot be reached are reported."""
    recorder.discovery.urls = ["http://one.test", "http://two.test"]
    recorder.answers = [httpx.ConnectError("refused"), session(201)]
    assert await recorder.service.ensure(ANN) == Created(ANNS)
    assert [request.url.host for request in recorder.requests] == ["one.test", "two.test"]
    assert recorder.discovery.reports == [("http://one.test", False), ("http://two.test", True)]


async def test_no_instance_is_an_outage(recorder):
    """Without an instance the verdict is Unknown, and no request is sent."""
    recorder.discovery.urls = []
    assert isinstance(await recorder.service.ensure(ANN), Unknown)
    assert recorder.requests == []


async def test_a_unix_socket_is_named_to_the_transport(recorder):
    """The socket's path is handed to the transport beside an ordinary URL."""
    recorder.discovery.urls = ["unix:/run/sessions.sock"]
    recorder.answers = [session(201)]
    await recorder.service.ensure(ANN)
    [request] = recorder.requests
    assert request.extensions["unix"] == "/run/sessions.sock"
    assert request.url.host == "localhost"
    assert target(request) == "/api/v1/sessions/s-1"


async def test_after_failures_in_a_row_calls_are_held_back(recorder):
    """An open breaker answers at once, with the time to come again, and one good answer closes it."""
    recorder.answers = [httpx.ConnectError("refused")]
    for _ in range(2):
        await recorder.service.ensure(ANN)
    assert len(recorder.requests) == 5
    held = await recorder.service.look(ANN)
    assert isinstance(held, Unknown)
    assert held.retry_after == 1
    assert len(recorder.requests) == 5
    recorder.answers = [session(201)]
    recorder.clock.advance(1)
    assert await recorder.service.ensure(ANN) == Created(ANNS)
    assert await recorder.service.ensure(ANN) == Created(ANNS)
    assert [note for note in recorder.telemetry.notes if note[0] == "breaker"] == [
        ("breaker", True),
        ("breaker", False),
    ]


async def test_failures_of_several_sessions_hold_calls_back(recorder):
    """A 500 for one session after another opens the breaker."""
    recorder.answers = [httpx.Response(500)]
    for number in range(5):
        await recorder.service.look(Reference(f"s-{number}", "ann"))
    asked = len(recorder.requests)
    assert isinstance(await recorder.service.look(ANN), Unknown)
    assert len(recorder.requests) == asked


async def test_one_session_that_fails_holds_no_other_back(recorder):
    """A session that always fails delays no other one."""
    recorder.answers = [httpx.Response(500)]
    for _ in range(10):
        assert isinstance(await recorder.service.ensure(Reference("s-broken", "bob")), Unknown)
    recorder.answers = [session(201)]
    assert await recorder.service.ensure(ANN) == Created(ANNS)
    assert not [note for note in recorder.telemetry.notes if note[0] == "breaker"]


async def test_a_lie_does_not_open_the_breaker(recorder):
    """An untrustworthy answer counts as an answer."""
    recorder.answers = [httpx.Response(200, text="<html>")]
    for _ in range(10):
        assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)
    assert len(recorder.requests) == 10


async def test_after_one_mismatched_id_nothing_more_is_created(recorder):
    """After an answer with another id the client looks and creates nothing, until a restart."""
    recorder.answers = [session(201, session_id="minted"), error(404, "session_not_found")]
    assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)
    recorder.answers = [error(404, "session_not_found")]
    assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)
    recorder.answers = [session(200)]
    assert await recorder.service.ensure(ANN) == Found(ANNS)
    assert [request.method for request in recorder.requests] == ["PUT", "GET", "GET", "GET"]
    recorder.service.mints = False
    assert await recorder.service.ensure(ANN) == Found(ANNS)
    assert recorder.requests[-1].method == "PUT"


@pytest.mark.parametrize("seen", [session(200), session(200, session_id="s-2"), httpx.Response(500)])
async def test_a_wrong_answer_about_one_session_stops_no_creation(recorder, seen):
    """Creation stops only where the session that was asked for is missing after all."""
    recorder.answers = [session(201, session_id="s-2"), seen]
    assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)
    assert not recorder.service.mints
    recorder.answers = [session(201, session_id="s-3")]
    assert await recorder.service.ensure(Reference("s-3", "ann")) == Created(ANNS)


@pytest.mark.parametrize(
    "asked",
    [
        "0C0FFEE0-0000-4000-8000-00000000000A",
        "0c0ffee000004000800000000000000a",
        "{0c0ffee0-0000-4000-8000-00000000000a}",
        "urn:uuid:0c0ffee0-0000-4000-8000-00000000000a",
    ],
)
async def test_an_id_of_the_same_meaning_is_the_session_that_was_asked_for(asked):
    """An answer with the same UUID in its canonical form proves the session."""
    recorder = Recorder(replace(DEFAULT_API, id_equals=IdEquality.UUID))
    recorder.answers = [session(201, session_id="0c0ffee0-0000-4000-8000-00000000000a")]
    assert await recorder.service.ensure(Reference(asked, "ann")) == Created(ANNS)
    assert not recorder.service.mints


async def test_another_id_in_a_look_creates_no_suspicion(recorder):
    """A look that is answered with another session is not believed, and does not stop creation."""
    recorder.answers = [session(200, session_id="s-2")]
    assert isinstance(await recorder.service.look(ANN), Untrustworthy)
    assert not recorder.service.mints


async def test_an_answer_that_lay_unread_for_too_long_is_none(recorder):
    """An answer that lay in the buffers while the process was stopped is not believed."""

    async def be_stopped() -> None:
        recorder.clock.advance(60)

    recorder.answers = [session(200)]
    recorder.before = be_stopped
    assert isinstance(await recorder.service.look(ANN), Unknown)
