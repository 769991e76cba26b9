"""The event stream of a real server over a real connection."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service_kit.process.serving import ENDLESS
from session_service.app import SessionService
from session_service.settings import Settings
from tests.support.event_stream import event_stream
from tests.support.eventually import eventually
from tests.support.servers import served


def ids(count: int) -> list[str]:
    prefix = uuid.uuid4().hex
    return [f"{prefix}-{number}" for number in range(count)]


@pytest.fixture(scope="module")
def url(database_url: str) -> Iterator[str]:
    """Where the service is."""
    service = SessionService(Settings(SESSION_DATABASE_URL=database_url))
    with served(service.app, lifespan="on") as base_url:
        yield base_url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=30, trust_env=False) as opened:
        yield opened


async def create(client: httpx.AsyncClient, *session_ids: str) -> None:
    for session_id in session_ids:
        (await client.put(f"/sessions/{session_id}", json={"user_id": "ann"})).raise_for_status()


async def test_the_server_is_told_that_the_stream_has_no_end(database_url: str) -> None:
    """So it cuts the stream off when it stops and the client does not read."""
    service, scopes = SessionService(Settings(SESSION_DATABASE_URL=database_url)), []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await service.app(scope, receive, send)

    with served(watched, lifespan="on") as base_url:
        async with event_stream(base_url) as stream:
            await stream.up()
    assert ENDLESS in scopes[-1]


async def test_a_change_arrives_with_its_number_and_what_it_is_about(url: str, client: httpx.AsyncClient) -> None:
    """Events are named for the change, numbered one by one, and carry session, owner and time."""
    (one,) = ids(1)
    async with event_stream(url) as stream:
        await stream.up()
        await create(client, one)
        await client.post(f"/sessions/{one}/end")
        await client.delete(f"/sessions/{one}")
        await eventually(lambda: len(stream.changes) == 3)
    assert stream.changes == [("created", one), ("ended", one), ("deleted", one)]
    events = [told for told in stream.told if told.name != ":"]
    first = events[0].number
    assert first is not None
    assert [event.number for event in events] == [first, first + 1, first + 2]
    for event in events:
        assert set(event.data) == {"session_id", "user_id", "at"}
        assert event.data["user_id"] == "ann"
        assert event.data["at"].endswith("Z")
        assert dt.datetime.fromisoformat(event.data["at"]).utcoffset() == dt.timedelta(0)


async def test_a_new_stream_starts_at_the_present_with_a_sign_of_life(url: str, client: httpx.AsyncClient) -> None:
    """What happened before is not told, and the first thing said is a heartbeat."""
    before, after = ids(2)
    await create(client, before)
    async with event_stream(url) as stream:
        await stream.up()
        await create(client, after)
        await eventually(lambda: stream.changes)
    assert stream.told[0].name == ":"
    assert stream.changes == [("created", after)]


async def test_a_stream_goes_on_where_the_last_one_ended(url: str, client: httpx.AsyncClient) -> None:
    """`Last-Event-ID` and `after` resume alike; the header wins."""
    some = ids(4)
    async with event_stream(url) as stream:
        await stream.up()
        await create(client, *some)
        await eventually(lambda: len(stream.changes) == 4)
    first = stream.told[1].number
    assert first is not None
    for params, headers, expected in (
        ({"after": first}, {}, some[1:]),
        ({}, {"Last-Event-ID": str(first + 1)}, some[2:]),
        ({"after": first}, {"Last-Event-ID": str(first + 2)}, some[3:]),
        ({"after": first + 3}, {}, []),
    ):
        async with event_stream(url, params, headers) as resumed:
            await resumed.up()
            assert resumed.changes == [("created", one) for one in expected]


@pytest.mark.parametrize("last_event_id", ["1", "9" * 18, "9" * 400, "nonsense", "-1"])
async def test_an_id_that_was_never_given_resets(url: str, last_event_id: str) -> None:
    """A follower from another history, or with a broken id, is told to forget, and where it is now."""
    async with event_stream(url, headers={"Last-Event-ID": last_event_id}) as stream:
        await stream.up()
        number = stream.last_number
    assert [told.name for told in stream.told[:2]] == ["reset", ":"]
    async with event_stream(url, {"after": number}) as resumed:
        await resumed.up()
    assert resumed.told[0].name == ":"


async def test_a_bad_number_in_the_query_is_refused(client: httpx.AsyncClient) -> None:
    """A query is written by a person: a mistake in it is said, not guessed at."""
    for after in ("x", "-1"):
        response = await client.get("/session-events", params={"after": after})
        assert (response.status_code, response.json()["reason"]) == (422, "invalid_request")


async def test_a_quiet_stream_keeps_beating(url: str) -> None:
    """Heartbeats follow one another while nothing happens."""
    async with event_stream(url) as stream:
        await eventually(lambda: len(stream.told) >= 2)
    assert {told.name for told in stream.told} == {":"}


async def test_many_followers_each_see_everything_once(url: str, client: httpx.AsyncClient) -> None:
    """Followers do not take events from each other."""
    some = sorted(ids(50))
    async with event_stream(url) as a, event_stream(url) as b, event_stream(url) as c:
        for stream in (a, b, c):
            await stream.up()
        body = {"sessions": [{"session_id": one, "user_id": "ann"} for one in some]}
        await client.post("/sessions:ensure", json=body)
        await eventually(lambda: all(len(stream.changes) >= 50 for stream in (a, b, c)))
    for stream in (a, b, c):
        assert stream.changes == [("created", one) for one in some]
