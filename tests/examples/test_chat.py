"""The chat example as it is deployed: a sidecar before the endpoint, another before its memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

import examples.chat
from examples.chat.app import chat_app
from examples.chat.ids import user_uuid
from tests.support.platform import Platform, both_services, new_id
from tests.support.processes import Running
from tests.support.servers import served
from tests.support.sidecar_process import sidecar_process

PROFILE = str(Path(examples.chat.__file__).parent / "chat.toml")


@dataclass
class Entry:
    """The address that chat clients use, and the platform behind it."""

    url: str
    platform: Platform
    id_format: str

    def chat(self, **body: Any) -> httpx.Response:
        return self.platform.http.post(f"{self.url}/api/chat", json={"message": "Hello", **body})


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Running]]:
    """The session service and the memory service, which take ids of both formats."""
    with both_services(tmp_path_factory.mktemp("services")) as both:
        yield both


@pytest.fixture(scope="module", params=["opaque", "uuid"])
def entry(
    request: pytest.FixtureRequest, services: tuple[Running, Running], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Entry]:
    """The platform, with any ids and with UUIDs alone."""
    directory = tmp_path_factory.mktemp("chat")
    sessions, memories = services
    id_format = {"SIDECAR_ID_FORMAT": request.param}
    with (
        sidecar_process(memories.url(), directory, SIDECAR_SESSION_SERVICE=sessions.url(), **id_format) as inner,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        platform = Platform(inner.process, http, memories=memories, sessions=sessions)
        settings = {"SIDECAR_PROFILE": PROFILE, "SIDECAR_SESSION_SERVICE": sessions.url(), **id_format}
        with (
            served(chat_app(platform.sidecar, uuid_users=request.param == "uuid"), lifespan="on") as chat,
            sidecar_process(chat, directory, **settings) as sidecar,
        ):
            yield Entry(f"http://127.0.0.1:{sidecar.port}", platform, request.param)


def test_a_client_without_a_session_is_given_one(entry: Entry) -> None:
    """The first message makes the session, for the user; the ids in the answer go on with it."""
    first = entry.chat(user_id=str(uuid.uuid4()))
    assert first.status_code == 200, first.text
    ids = {name: first.json()[name] for name in ("user_id", "session_id")}
    assert entry.platform.session(ids["session_id"]).json()["user_id"] == ids["user_id"]
    second = entry.chat(**ids)
    assert second.json() == {**ids, "reply": "I know 3 messages of this session."}
    assert entry.platform.stored(ids["user_id"], ids["session_id"])[0] == "Hello"


def test_a_client_may_bring_its_own_session_id(entry: Entry) -> None:
    """The sidecar at the entry creates the session, for the user."""
    user, session = str(uuid.uuid4()), str(uuid.uuid4())
    answer = entry.chat(user_id=user, session_id=session)
    assert answer.status_code == 200, answer.text
    assert answer.json()["session_id"] == session
    assert entry.platform.session(session).json()["user_id"] == user


def test_a_session_of_another_user_is_refused_at_the_entry(entry: Entry) -> None:
    """The endpoint, and its model, never see the message."""
    session = entry.chat(user_id=str(uuid.uuid4())).json()["session_id"]
    refused = entry.chat(user_id=str(uuid.uuid4()), session_id=session)
    assert (refused.status_code, refused.headers["x-sidecar-reason"]) == (403, "session_owned_by_another_user")


def test_a_deleted_session_is_refused_at_the_entry(entry: Entry) -> None:
    """A message never brings it back."""
    user = str(uuid.uuid4())
    session = entry.chat(user_id=user).json()["session_id"]
    url = f"{entry.platform.sessions}/api/v1/sessions/{session}"
    assert entry.platform.http.delete(url, params={"user_id": user}).status_code == 204
    refused = entry.chat(user_id=user, session_id=session)
    assert (refused.status_code, refused.json()["reason"]) == (410, "session_gone")


def test_a_user_of_another_system_is_the_same_one_every_time(entry: Entry) -> None:
    """Where the platform wants UUIDs the user gets one; elsewhere the id stays as it is."""
    foreign = new_id("auth0|x")
    answers = [entry.chat(user_id=foreign).json() for _ in range(2)]
    wanted = user_uuid(foreign) if entry.id_format == "uuid" else foreign
    assert {answer["user_id"] for answer in answers} == {wanted}
    assert len({answer["session_id"] for answer in answers}) == 2


def test_other_spellings_of_the_ids_are_refused_where_they_are_uuids(entry: Entry) -> None:
    """Beside a session the ids have to be those that the endpoint gave, spelled as it gave them."""
    given = entry.chat(user_id="auth0|abc").json()
    if entry.id_format == "opaque":
        assert entry.chat(user_id="auth0|abc", session_id=given["session_id"]).status_code == 200
        return
    for user in ("auth0|abc", given["user_id"].upper(), given["user_id"].replace("-", "")):
        refused = entry.chat(user_id=user, session_id=given["session_id"])
        assert (refused.status_code, refused.json()["reason"]) == (422, "invalid_user_id")
    refused = entry.chat(user_id=given["user_id"], session_id=str(uuid.UUID(int=0xAB)).upper())
    assert (refused.status_code, refused.json()["reason"]) == (422, "invalid_session_id")


async def test_a_refusal_that_is_no_json_is_passed_on_as_it_is(respx_mock: respx.MockRouter) -> None:
    """A proxy on the way may answer in any form, and say when to try again."""
    outage = httpx.Response(503, text="no memory today", headers={"Retry-After": "7"})
    respx_mock.post("http://memory/api/v1/memories/session/store").mock(outage)
    transport = httpx.ASGITransport(chat_app("http://memory", uuid_users=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://chat") as client:
        refused = await client.post("/api/chat", json={"user_id": "ada", "message": "Hello"})
    assert (refused.status_code, refused.text, refused.headers["retry-after"]) == (503, "no memory today", "7")


def test_what_is_refused_before_the_memory_is_passed_on(entry: Entry) -> None:
    """A user id that the platform does not take: the client reads the reason, whichever sidecar gave it."""
    if entry.id_format == "uuid":
        assert entry.chat(user_id="a b").status_code == 200  # turned into a UUID
        return
    refused = entry.chat(user_id="a b")
    assert (refused.status_code, refused.json()["reason"]) == (422, "invalid_user_id")
