"""How a foreign session service is described, and what is said about a description that cannot work."""

# ruff: noqa: E501 # a message stays in one line, as it is printed

from __future__ import annotations

import re

import pytest

from sidecar.profile.api_call import ApiCall, Meaning
from sidecar.profile.loading import load_profile
from sidecar.profile.problems import ProfileError
from sidecar.profile.session_api import DEFAULT_API, SessionApi, Style
from tests.support.reading import ADK, AGNO, ISA, LANGGRAPH

LOOK = 'look = { path = "/s/{session_id}", statuses = { found = [200] } }\n'
CREATE = 'create = { path = "/s", body = { id = "{session_id}" }, statuses = { created = [201] } }\n'
STATUSES = "statuses from 100 to 599, each with one meaning"
MEANINGS = "conflict, created, found, gone, invalid, perhaps, taken"
PATHS = "field names with dots between them are allowed, each perhaps with [] behind"
FOREIGN = 'style = "post"\nid_field = "id"\n'


def api(table: str) -> SessionApi:
    return load_profile(f"""
    name = "x"
    prefixes = ["/a"]
    owner = "none"
    [variables.app]
    [session_service]
    {table}
    """).service


def complaint(table: str) -> str:
    with pytest.raises(ProfileError) as error:
        api(table)
    return re.sub(r"^profile:\d+: ", "", str(error.value), flags=re.MULTILINE)


def test_our_own_service_needs_one_word() -> None:
    """`style = "put"` alone describes the session service of this project."""
    assert api('style = "put"') is DEFAULT_API
    assert ISA.service is DEFAULT_API
    assert AGNO.service is DEFAULT_API
    assert DEFAULT_API.creates_by_id


def test_our_own_service_is_spoken_to_as_its_contract_says() -> None:
    """PUT creates or finds, and each status of the contract has its meaning."""
    api = DEFAULT_API
    assert api.create is not None
    assert (api.style, api.create.method, api.create.path) == (Style.PUT, "PUT", "/api/v1/sessions/{session_id}")
    assert api.create.body == {"user_id": "{user_id}", "metadata": {"source": "session-sidecar"}}
    assert api.create.statuses == {
        200: Meaning.FOUND, 201: Meaning.CREATED, 409: Meaning.CONFLICT, 410: Meaning.GONE,
    }  # fmt: skip
    assert (api.look.method, api.look.path) == ("GET", "/api/v1/sessions/{session_id}")
    assert api.look.query == {"user_id": "{user_id}"}
    assert api.look.statuses == {200: Meaning.FOUND, 403: Meaning.CONFLICT, 404: Meaning.ABSENT, 410: Meaning.GONE}
    assert (api.id_field, api.owner_field, api.status_field) == (("session_id",), ("user_id",), ("status",))
    assert (api.ended_values, api.deleted_values) == ({"ended"}, {"deleted"})
    assert (api.events, api.bulk) == ("/api/v1/session-events", "/api/v1/sessions:ensure")


def test_google_adk_can_be_described() -> None:
    """Look and create may share a scoped path, and a conflict may mean to look again."""
    service = ADK.service
    path = "/apps/{app}/users/{user_id}/sessions/{session_id}"
    assert service.style is Style.POST
    assert service.look == ApiCall("GET", path, {200: Meaning.FOUND, 404: Meaning.ABSENT})
    assert service.create == ApiCall(
        "POST",
        path,
        {
            200: Meaning.CREATED,
            409: Meaning.TAKEN,
            500: Meaning.PERHAPS,
            502: Meaning.PERHAPS,
            503: Meaning.PERHAPS,
        },
        body={},
    )
    assert (service.id_field, service.owner_field, service.status_field) == (("id",), ("userId",), None)
    assert (service.events, service.bulk) == (None, None)


def test_langgraph_can_be_described() -> None:
    """The id may stand in the body of the create call, and answers may carry no owner."""
    service = LANGGRAPH.service
    assert service.create is not None
    assert service.create.body == {"thread_id": "{session_id}", "if_exists": "do_nothing", "metadata": {}}
    assert (service.id_field, service.owner_field) == (("thread_id",), None)


def test_every_habit_can_be_written() -> None:
    """A profile that uses every key is read."""
    service = api("""
    style = "post"
    id_field = "data.id"
    owner_field = "data.user.id"
    status_field = "state"
    ended_values = ["closed"]
    deleted_values = ["removed", "purged"]
    events = "/events"
    [session_service.look]
    method = "POST"
    path = "/find/{app}"
    query = { q = "{session_id}" }
    body = { deep = [{ user = "{user_id}" }, 1] }
    statuses = { found = [200, 203], absent = [404], conflict = [403], gone = [410] }
    [session_service.create]
    method = "PUT"
    path = "/make"
    query = { id = "{session_id}" }
    statuses = { found = [200], created = [201], conflict = [409], gone = [410], taken = [422], perhaps = [500, 599] }
    """)
    assert service == SessionApi(
        style=Style.POST,
        look=ApiCall(
            "POST",
            "/find/{app}",
            {
                200: Meaning.FOUND,
                203: Meaning.FOUND,
                404: Meaning.ABSENT,
                403: Meaning.CONFLICT,
                410: Meaning.GONE,
            },
            {"q": "{session_id}"},
            {"deep": [{"user": "{user_id}"}, 1]},
        ),
        create=ApiCall(
            "PUT",
            "/make",
            {
                200: Meaning.FOUND,
                201: Meaning.CREATED,
                409: Meaning.CONFLICT,
                410: Meaning.GONE,
                422: Meaning.TAKEN,
                500: Meaning.PERHAPS,
                599: Meaning.PERHAPS,
            },
            {"id": "{session_id}"},
        ),
        id_field=("data", "id"),
        owner_field=("data", "user", "id"),
        status_field=("state",),
        ended_values=frozenset({"closed"}),
        deleted_values=frozenset({"removed", "purged"}),
        events="/events",
    )


def test_a_service_that_mints_its_own_ids_has_no_create() -> None:
    """A description without a create call never creates."""
    service = api(FOREIGN + LOOK)
    assert service.create is None
    assert not service.creates_by_id
    assert api(FOREIGN + LOOK + CREATE).creates_by_id


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('style = "soap"', "session_service.style cannot be 'soap': one of 'put', 'post' is allowed"),
        ('style = "put"\nid_field = "id"', 'session_service: style = "put" says everything, and id_field cannot stand beside it; use style = "post"'),
        ('style = "post"\n' + LOOK, "session_service.id_field is missing: a string is needed"),
        (FOREIGN, "session_service.look is missing: a table is needed"),
        (FOREIGN + LOOK + 'owner_field = "a..b"', f"session_service.owner_field: 'a..b' is not a JSON path: {PATHS}"),
        (FOREIGN + LOOK + 'bulk = "/x"', 'session_service: bulk is allowed with style = "put" alone'),
        (
            FOREIGN + LOOK.replace("/s/", "s/"),
            "session_service.look.path: 's/{session_id}' is not a path: it must start with /",
        ),
        (
            FOREIGN + LOOK.replace("{session_id}", "{thread}"),
            "session_service.look: {thread} is unknown; allowed here: app, session_id, user_id",
        ),
        (
            FOREIGN + LOOK.replace("found = [200]", ""),
            "session_service.look: at least one status must mean that the session is there (found or created)",
        ),
        (
            FOREIGN + LOOK.replace("200", '"200"'),
            "session_service.look.statuses: found cannot be ['200']: a list of whole numbers is allowed",
        ),
        (
            FOREIGN + LOOK.replace("200", "200, true"),
            "session_service.look.statuses: found cannot be [200, True]: a list of whole numbers is allowed",
        ),
        (
            FOREIGN + LOOK.replace("200", "99"),
            f"session_service.look.statuses: found cannot be 99: {STATUSES}",
        ),
        (
            FOREIGN + LOOK.replace("200", "600"),
            f"session_service.look.statuses: found cannot be 600: {STATUSES}",
        ),
        (
            FOREIGN + LOOK.replace("[200]", "[200], absent = [200]"),
            f"session_service.look.statuses: absent cannot be 200: {STATUSES}",
        ),
        (
            FOREIGN + LOOK.replace("[200]", "[200], taken = [409]"),
            "session_service.look: an answer cannot mean taken here; allowed: absent, conflict, found, gone, invalid",
        ),
        (
            FOREIGN + LOOK + CREATE.replace("[201]", "[201], absent = [404]"),
            f"session_service.create: an answer cannot mean absent here; allowed: {MEANINGS}",
        ),
        (
            FOREIGN + LOOK + CREATE.replace("{session_id}", "{user_id}"),
            "session_service: create does not contain {session_id}: the service would mint an id of its own",
        ),
        (
            FOREIGN + LOOK + CREATE.replace("{session_id}", "{session_id}{who}"),
            "session_service.create: {who} is unknown; allowed here: app, session_id, user_id",
        ),
        (
            FOREIGN + LOOK.replace("statuses", "query = { a = 1 }, statuses"),
            "session_service.look.query.a cannot be 1: a string is allowed",
        ),
        (
            FOREIGN + LOOK.replace("statuses", "xyz = {}, statuses"),
            "session_service.look.xyz is unknown: allowed here: bodies, body, headers, method, path, query, statuses",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_place(table: str, said: str) -> None:
    """Each complaint says what is wrong, where, and what is allowed."""
    assert said in complaint(table).splitlines()


def test_statuses_may_be_at_either_end_of_the_range() -> None:
    """The statuses 100 and 599 are accepted."""
    assert api(FOREIGN + LOOK.replace("[200]", "[100, 599]")).look.statuses == {
        100: Meaning.FOUND,
        599: Meaning.FOUND,
    }


def test_a_foreign_service_is_looked_at_with_get_and_created_with_post() -> None:
    """The methods are GET and POST where the description names none."""
    found = api(FOREIGN + LOOK + CREATE)
    assert found.create is not None
    assert (found.look.method, found.create.method) == ("GET", "POST")


def test_names_are_known_however_deep_they_stand_in_a_body() -> None:
    """The names in a body template are found in objects inside lists inside objects."""
    create = CREATE.replace('{ id = "{session_id}" }', '{ id = "{session_id}", a = [{ b = "{nobody}" }] }')
    assert "{nobody} is unknown" in complaint(FOREIGN + LOOK + create)
