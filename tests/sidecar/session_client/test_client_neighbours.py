"""Session services of known servers, as the shipped profiles describe them."""

from __future__ import annotations

import uuid

import httpx
import orjson
import pytest

from sidecar.extract.head_candidates import HeadReader
from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Invalid, Unknown, Untrustworthy
from sidecar.model import UNOWNED, Reference, Session, SessionStatus
from sidecar.profile.loading import find_profile, load_profile
from sidecar.profile.profile import Profile
from sidecar.session_client.breaker import FAILURES
from tests.support.sessions import Recorder, target

ADK, LANGGRAPH, AGNO = map(find_profile, ("adk", "langgraph", "agno"))
RUN = Reference("s 1", "ann", scope=("app", "ann"))
UUID = "3B9B7B9E-6C1F-4C7A-9F56-0D7A3C2F1A11"
THREAD = Reference(UUID, None, variables=(("graph_id", "agent"),))


def asked(profile: Profile, *answers: httpx.Response) -> Recorder:
    recorder = Recorder(profile.service, scope_names=profile.scope, owner=profile.owner)
    recorder.answers = list(answers)
    return recorder


def with_credentials(*headers: tuple[bytes, bytes]) -> Reference:
    return Reference(UUID, None, credentials=HeadReader(LANGGRAPH, None).read({}, headers, b"").credentials)


@pytest.mark.parametrize(
    ("body", "expected"),
    [({"detail": "Session not found"}, Absent), ({"detail": "Not Found"}, Untrustworthy), ({}, Untrustworthy)],
)
async def test_a_routers_404_is_no_absence(body: object, expected: type) -> None:
    """A 404 is an absence only with ADK's own sentence."""
    recorder = asked(ADK, httpx.Response(404, json=body))
    assert isinstance(await recorder.service.look(RUN), expected)
    assert target(recorder.requests[0]) == "/apps/app/users/ann/sessions/s%201"


async def test_an_equal_uuid_is_the_session_that_was_asked_for() -> None:
    """LangGraph answers with the UUID in lower case; creation goes on, with a create call alone."""
    recorder = asked(LANGGRAPH, httpx.Response(200, json={"thread_id": UUID.lower()}))
    assert await recorder.service.create(THREAD) == Created(Session(None, SessionStatus.ACTIVE))
    assert not recorder.service.mints
    (request,) = recorder.requests
    assert orjson.loads(request.content) == {
        "thread_id": UUID,
        "if_exists": "raise",
        "metadata": {"graph_id": "agent"},
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(409, json={"detail": "Thread already exists"}), Conflict()),
        (httpx.Response(500, json={}), Unknown("it answered 500")),
        (httpx.Response(403, json={}), Conflict()),
    ],
)
async def test_a_create_call_without_a_look_makes_no_other_call(answer: httpx.Response, expected: object) -> None:
    """A create call without a look is the only call, whatever its answer."""
    recorder = asked(LANGGRAPH, answer)
    assert await recorder.service.create(THREAD) == expected
    assert len(recorder.requests) == 1


async def test_another_uuid_is_another_session() -> None:
    """A different UUID in the answer is another session."""
    recorder = asked(LANGGRAPH, httpx.Response(200, json={"thread_id": UUID.lower().replace("11", "12")}))
    assert isinstance(await recorder.service.look(THREAD), Untrustworthy)


async def test_a_variable_without_a_value_leaves_its_field_out() -> None:
    """A body field that is nothing but a variable is left out where the variable has no value."""
    recorder = asked(LANGGRAPH, httpx.Response(200, json={"thread_id": UUID}))
    await recorder.service.create(Reference(UUID, None))
    assert orjson.loads(recorder.requests[0].content)["metadata"] == {}


async def test_an_id_that_the_service_refuses_is_invalid() -> None:
    """LangGraph refuses ids that are no UUIDs, and the sidecar refuses them as invalid."""
    recorder = asked(LANGGRAPH, httpx.Response(422, json={"detail": "Invalid thread ID"}))
    assert await recorder.service.ensure(Reference("chat", None)) == Invalid()


async def test_the_clients_credentials_take_the_place_of_the_token() -> None:
    """The client's credentials are sent in place of the sidecar's token."""
    recorder = asked(LANGGRAPH, httpx.Response(200, json={"thread_id": UUID}))
    await recorder.service.ensure(with_credentials((b"authorization", b"Bearer ann"), (b"x-other", b"no")))
    assert recorder.requests[0].headers.get_list("authorization") == ["Bearer ann"]
    assert "x-other" not in recorder.requests[0].headers


@pytest.mark.parametrize("headers", [((b"x-api-key", b"ann"),), ()])
async def test_the_sidecars_token_is_added_to_no_credentials(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """A client with other credentials than a bearer token, or with none, is not lent the sidecar's token."""
    recorder = asked(LANGGRAPH, httpx.Response(200, json={"thread_id": UUID}))
    await recorder.service.create(with_credentials(*headers))
    assert "authorization" not in recorder.requests[0].headers
    assert recorder.requests[0].headers.get("x-api-key", "").encode() == dict(headers).get(b"x-api-key", b"")


async def test_a_client_with_too_many_requests_holds_up_no_other() -> None:
    """A 429 to the credentials of one client does not open the breaker for all."""
    recorder = asked(LANGGRAPH, httpx.Response(429, json={"detail": "Too many requests"}))
    ann, bob = with_credentials((b"x-api-key", b"ann")), with_credentials((b"x-api-key", b"bob"))
    for number in range(2 * FAILURES):
        one = Reference(str(uuid.UUID(int=number)), None, credentials=ann.credentials)
        assert isinstance(await recorder.service.create(one), Unknown)
    recorder.answers = [httpx.Response(200, json={"thread_id": UUID})]
    assert isinstance(await recorder.service.create(bob), Created)


def test_what_one_client_may_see_is_not_known_for_another() -> None:
    """The digest of the credentials is part of the key, and no text shows the credentials."""
    ann, bob = with_credentials((b"x-api-key", b"ann")), with_credentials((b"x-api-key", b"bob"))
    assert ann.key != bob.key
    assert ann.key == with_credentials((b"x-api-key", b"ann")).key
    assert b"ann" not in repr(ann).encode()
    assert with_credentials().key != ann.key


@pytest.mark.parametrize(("owner", "expected"), [(None, UNOWNED), ("ann", "ann"), ("bob", "bob")])
async def test_a_null_owner_is_unowned_where_owners_are_optional(owner: str | None, expected: str) -> None:
    """A session whose owner is null is unowned where the profile's owners are optional."""
    recorder = asked(AGNO, httpx.Response(200, json={"session_id": "s1", "user_id": owner}))
    found = await recorder.service.look(Reference("s1", "ann"))
    assert found == Found(Session(expected, SessionStatus.ACTIVE))


async def test_a_reference_without_a_user_still_learns_the_owner() -> None:
    """A look without a user leaves the query field out and still learns the owner."""
    recorder = asked(AGNO, httpx.Response(200, json={"session_id": "s1", "user_id": "ann"}))
    assert await recorder.service.look(Reference("s1", None)) == Found(Session("ann", SessionStatus.ACTIVE))
    assert target(recorder.requests[0]) == "/sessions/s1?type=agent"


async def test_headers_and_a_null_body_can_be_described() -> None:
    """A description may send header fields, and may take 200 with null for an absence."""
    profile = load_profile("""
    name = "x"
    prefixes = ["/a"]
    owner = "required"
    [session_service]
    style = "post"
    id_field = "id"
    [session_service.look]
    path = "/s"
    headers = { X-User = "{user_id}", X-Session = "s-{session_id}" }
    statuses = { found = [200] }
    bodies = [{ status = 200, at = "", null = true, means = "absent" }]
    """)
    recorder = asked(profile, httpx.Response(200, content=b"null"))
    assert await recorder.service.look(Reference("s1", "ann")) == Absent()
    assert recorder.requests[0].headers["x-user"] == "ann"
    assert recorder.requests[0].headers["x-session"] == "s-s1"
    recorder.answers = [httpx.Response(200, json={"id": "s1"})]
    assert isinstance(await recorder.service.look(Reference("s1", "ann")), Found)


TENANTS = """
name = "x"
prefixes = ["/a"]
owner = "optional"
[variables.tenant]
json = ["tenant"]
[session_service]
style = "post"
id_field = "id"
owner_field = "user_id"
[session_service.look]
path = "/{tenant}/{session_id}"
headers = { X-Tenant = "{tenant}", X-User = "of {user_id}" }
statuses = { found = [200] }
"""


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (Reference("s1", "ann"), "the session service is asked with tenant, and none is named"),
        (Reference("s1", None, variables=(("tenant", "t"),)), "the session service is asked with user_id, and none"),
        (Reference("s1", "ann", variables=(("tenant", "t\r\nX-Admin: 1"),)), "the field x-tenant"),
        (Reference("s1", "ann", variables=(("tenant", ".."),)), "'..' cannot stand in the path"),
        (Reference("s1", "ann", variables=(("tenant", ""),)), "'' cannot stand in the path"),
        (Reference("s1", "ann", scope=("app",)), "a profile with another scope"),
    ],
)
async def test_what_makes_no_call_is_not_asked(reference: Reference, why: str) -> None:
    """A value that a call needs and the request does not name, or that would say more than one value, makes no call."""
    recorder = asked(load_profile(TENANTS), httpx.Response(200, json={"id": "s1", "user_id": "ann"}))
    answer = await recorder.service.look(reference)
    assert isinstance(answer, Invalid)
    assert why in answer.why
    assert not recorder.requests


async def test_adk_creates_with_both_parts_of_the_scope() -> None:
    """ADK's create call names application and user, and the answer proves the owner."""
    missing = httpx.Response(404, json={"detail": "Session not found"})
    recorder = asked(ADK, missing, httpx.Response(200, json={"id": "s 1", "userId": "ann"}))
    assert await recorder.service.ensure(RUN) == Created(Session("ann", SessionStatus.ACTIVE))
