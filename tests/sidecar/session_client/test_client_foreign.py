"""Session services with another API: look first, then create, prove it, and look again when in doubt."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import orjson
import pytest

from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone, Unknown, Untrustworthy
from sidecar.model import Reference, Session, SessionStatus
from sidecar.profile.api_call import ApiCall, Meaning
from sidecar.profile.session_api import SessionApi, Style
from tests.support.sessions import Recorder, error, session, target

ANN = Reference("s-1", "ann")
ANNS = Session("ann", SessionStatus.ACTIVE)

ISA = SessionApi(
    style=Style.POST,
    look=ApiCall("GET", "/api/v1/sessions/{session_id}", {200: Meaning.FOUND, 404: Meaning.ABSENT, 410: Meaning.GONE}),
    create=ApiCall(
        "POST",
        "/api/v1/sessions",
        {
            200: Meaning.FOUND,
            201: Meaning.CREATED,
            409: Meaning.TAKEN,
            410: Meaning.GONE,
            412: Meaning.CONFLICT,
            500: Meaning.PERHAPS,
        },
        body={"user_id": "{user_id}", "session_id": "{session_id}", "metadata": {"tags": ["by {user_id}", 7]}},
    ),
    id_field=("session_id",),
    owner_field=("user_id",),
    status_field=("status",),
    ended_values=frozenset({"ended", "closed"}),
    deleted_values=frozenset({"deleted"}),
)
MISSING = httpx.Response(404, json={"detail": "Session not found", "reason": "session_not_found"})


@pytest.fixture
def recorder():
    return Recorder(ISA)


def methods(recorder: Recorder) -> list[str]:
    return [request.method for request in recorder.requests]


async def test_what_is_missing_is_created_and_proven(recorder):
    """A look finds nothing, and the answer to the create call proves the session."""
    recorder.answers = [MISSING, session(201)]
    assert await recorder.service.ensure(ANN) == Created(ANNS)
    look, create = recorder.requests
    assert (look.method, target(look)) == ("GET", "/api/v1/sessions/s-1")
    assert (create.method, target(create)) == ("POST", "/api/v1/sessions")
    assert orjson.loads(create.content) == {
        "user_id": "ann",
        "session_id": "s-1",
        "metadata": {"tags": ["by ann", 7]},
    }
    assert recorder.telemetry.notes == [("session_call", "look", "absent"), ("session_call", "create", "created")]


async def test_what_is_there_is_not_created(recorder):
    """A session that the look finds is not created."""
    recorder.answers = [session(200)]
    assert await recorder.service.ensure(ANN) == Found(ANNS)
    assert methods(recorder) == ["GET"]


async def test_a_create_may_say_200(recorder):
    """After a look that found nothing, a 200 to the create call is a creation."""
    recorder.answers = [MISSING, session(200)]
    assert await recorder.service.ensure(ANN) == Created(ANNS)


async def test_a_create_that_says_200_may_mean_somebody_elses(recorder):
    """A 200 to the create call may be another user's session, as its owner tells."""
    recorder.answers = [MISSING, session(200, user_id="bob")]
    assert await recorder.service.ensure(ANN) == Found(Session("bob", SessionStatus.ACTIVE))


async def test_a_create_that_says_201_for_another_owner_lies(recorder):
    """A 201 with another owner is untrustworthy."""
    recorder.answers = [MISSING, session(201, user_id="bob")]
    assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)


@pytest.mark.parametrize(
    ("second_look", "expected"),
    [
        (session(200), Found(ANNS)),
        (session(200, user_id="bob"), Found(Session("bob", SessionStatus.ACTIVE))),
        (MISSING, Conflict()),
        (error(410, "gone"), Gone()),
    ],
)
async def test_what_is_taken_is_looked_at_again(recorder, second_look, expected):
    """After "taken" the client looks again, and a session that is absent even then is another user's."""
    recorder.answers = [MISSING, httpx.Response(409, json={}), second_look]
    assert await recorder.service.ensure(ANN) == expected
    assert methods(recorder) == ["GET", "POST", "GET"]


@pytest.mark.parametrize("failure", [httpx.Response(500), httpx.Response(503), httpx.ReadError("cut")])
async def test_a_create_that_failed_may_have_worked(recorder, failure):
    """After a failed create call the client looks again, and does not repeat the call."""
    recorder.answers = [MISSING, failure, session(200)]
    assert await recorder.service.ensure(ANN) == Found(ANNS)
    recorder.answers = [MISSING, failure, MISSING]
    assert isinstance(await recorder.service.ensure(ANN), Unknown)
    assert methods(recorder) == ["GET", "POST", "GET"] * 2


async def test_a_conflict_that_is_certain_needs_no_second_look(recorder):
    """A status that the description calls a conflict needs no second look."""
    recorder.answers = [MISSING, httpx.Response(412, json={})]
    assert await recorder.service.ensure(ANN) == Conflict()
    assert methods(recorder) == ["GET", "POST"]


async def test_an_outage_in_the_look_creates_nothing(recorder):
    """An Unknown look is not followed by a create call."""
    recorder.answers = [httpx.Response(503)]
    assert isinstance(await recorder.service.ensure(ANN), Unknown)
    assert set(methods(recorder)) == {"GET"}


@pytest.mark.parametrize(
    "page", [httpx.Response(404, text="<html>"), httpx.Response(404), httpx.Response(404, json=[])]
)
async def test_a_404_that_is_no_error_of_the_service_creates_nothing(recorder, page):
    """An error page of another program is no absence."""
    recorder.answers = [page]
    assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)
    assert methods(recorder) == ["GET"]


async def test_a_service_that_mints_ids_and_then_hangs_makes_no_more_either():
    """Creation stops also where the look that follows a minted id gets no answer in time."""
    recorder = Recorder(ISA, timeout=0.2)

    async def reply(request: httpx.Request) -> httpx.Response:
        if len(recorder.requests) > 2:
            await asyncio.Event().wait()
        return MISSING if request.method == "GET" else session(201, session_id="minted")

    recorder.reply = reply
    assert isinstance(await recorder.service.ensure(ANN), Untrustworthy)
    assert recorder.service.mints


async def test_a_service_that_mints_ids_makes_one_junk_session_and_no_more(recorder):
    """After one answer with another id nothing is created any more, however many first writes come at once."""

    async def mint(request):
        await asyncio.sleep(0)
        return session(201, session_id="minted") if request.method == "POST" else MISSING

    recorder.reply = mint
    answers = await asyncio.gather(*(recorder.service.ensure(Reference(f"s-{n}", "ann")) for n in range(50)))
    assert all(isinstance(one, Untrustworthy) for one in answers)
    assert methods(recorder).count("POST") == 1
    assert recorder.service.mints


async def test_once_proven_creates_run_side_by_side(recorder):
    """Only the first create call is made alone."""
    recorder.answers = [MISSING, session(201)]
    await recorder.service.ensure(ANN)
    both = asyncio.Barrier(2)

    async def together(request):
        if request.method == "GET":
            return MISSING
        await both.wait()
        return session(201, session_id=orjson.loads(request.content)["session_id"])

    recorder.reply = together
    answers = await asyncio.gather(*(recorder.service.ensure(Reference(f"s-{n}", "ann")) for n in (2, 3)))
    assert answers == [Created(ANNS)] * 2


async def test_waiting_for_the_first_proof_has_an_end():
    """Requests behind a create call that hangs get an outage within their own deadline."""
    recorder = Recorder(ISA, timeout=0.05)

    async def hang(request):
        if request.method == "POST":
            await asyncio.Event().wait()
        return MISSING

    recorder.reply = hang
    answers = await asyncio.gather(*(recorder.service.ensure(Reference(f"s-{n}", "ann")) for n in range(3)))
    assert all(isinstance(one, Unknown) for one in answers)


@pytest.mark.parametrize("style", Style)
async def test_a_service_that_cannot_create_is_only_asked(style):
    """Without a create call, a missing session stays missing."""
    recorder = Recorder(replace(ISA, style=style, create=None))
    recorder.answers = [MISSING]
    assert await recorder.service.ensure(ANN) == Absent()
    recorder.answers = [session(200)]
    assert await recorder.service.ensure(ANN) == Found(ANNS)
    assert methods(recorder) == ["GET", "GET"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("active", SessionStatus.ACTIVE),
        ("busy", SessionStatus.ACTIVE),
        ("ended", SessionStatus.ENDED),
        ("closed", SessionStatus.ENDED),
        ("deleted", SessionStatus.DELETED),
    ],
)
async def test_states_are_the_services_own(recorder, status, expected):
    """A state that is neither ended nor deleted counts as active."""
    recorder.answers = [session(200, status=status)]
    assert await recorder.service.look(ANN) == Found(Session("ann", expected))


ADK = SessionApi(
    style=Style.POST,
    look=ApiCall("GET", "/apps/{app}/users/{user}/sessions/{session_id}", {200: Meaning.FOUND, 404: Meaning.ABSENT}),
    create=ApiCall(
        "POST",
        "/apps/{app}/users/{user}/sessions/{session_id}",
        {200: Meaning.CREATED, 409: Meaning.TAKEN},
        body={"owner": "{user_id}", "state": {}},
    ),
    id_field=("id",),
    owner_field=None,
)


async def test_scopes_stand_in_the_path_and_ownerless_sessions_need_no_owner():
    """Each part of a scope is one escaped segment, and no user is sent where there is none."""
    recorder = Recorder(ADK, scope_names=("app", "user"))
    recorder.answers = [MISSING, httpx.Response(200, json={"id": "s-1"})]
    reference = Reference("s-1", None, scope=("my app", "a/b"))
    assert await recorder.service.ensure(reference) == Created(Session(None, SessionStatus.ACTIVE))
    assert {target(request) for request in recorder.requests} == {"/apps/my%20app/users/a%2Fb/sessions/s-1"}
    assert orjson.loads(recorder.requests[1].content) == {"state": {}}


async def test_an_owner_that_answers_do_not_carry_is_the_one_who_asks():
    """Where the description names no owner field, no owner is compared."""
    recorder = Recorder(ADK, scope_names=("app", "user"))
    recorder.answers = [httpx.Response(200, json={"id": "s-1", "user_id": "bob"})]
    reference = Reference("s-1", "ann", scope=("app", "ann"))
    assert await recorder.service.look(reference) == Found(ANNS)


NESTED = replace(ISA, id_field=("data", "id"), owner_field=("data", "owner", "id"), status_field=None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"data": {"id": "s-1", "owner": {"id": "ann"}}}, Found(ANNS)),
        ({"data": {"id": "s-1", "owner": "ann"}}, None),
        ({"data": {"id": "s-1"}}, None),
        ({"data": ["s-1"]}, None),
        ({"id": "s-1"}, None),
    ],
)
async def test_fields_may_lie_deep(content, expected):
    """A field that is missing deep in an answer proves nothing."""
    recorder = Recorder(NESTED)
    recorder.answers = [httpx.Response(200, json=content)]
    answer = await recorder.service.look(ANN)
    assert answer == expected if expected else isinstance(answer, Untrustworthy)
