"""Several processes over one Postgres behave as one service."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import httpx
import pytest

from session_service.model import Status
from tests.session_service.conftest import migrations
from tests.support.event_stream import event_stream
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer
from tests.support.processes import Running, running

Serving = Callable[[], AbstractContextManager[Running]]


@pytest.fixture(scope="module")
def environment(postgres: PostgresServer) -> Iterator[dict[str, str]]:
    """What every process is told: one database, and a free port of its own."""
    url = postgres.create_database()
    asyncio.run(migrations(url).move())
    yield {"SESSION_DATABASE_URL": url, "SESSION_SERVICE_LISTEN": "127.0.0.1:0"}
    postgres.drop_database(url)


@pytest.fixture(scope="module")
def serving(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """Starts one more process."""
    folder = tmp_path_factory.mktemp("replicas")
    return partial(running, "session_service", "serve", role="session-service", env=environment, cwd=folder)


@pytest.fixture(scope="module")
def replica(serving: Serving) -> Iterator[Running]:
    with serving() as process:
        yield process


@pytest.fixture(scope="module")
def second(serving: Serving) -> Iterator[Running]:
    with serving() as process:
        yield process


@pytest.fixture
async def clients(replica: Running, second: Running) -> AsyncIterator[list[httpx.AsyncClient]]:
    limits = httpx.Limits(max_connections=64)
    opened = [
        httpx.AsyncClient(base_url=f"{one.url()}/api/v1", timeout=60, limits=limits, trust_env=False)
        for one in (replica, second)
    ]
    yield opened
    for client in opened:
        await client.aclose()


async def put(client: httpx.AsyncClient, session_id: str, user_id: str = "ann") -> int:
    return (await client.put(f"/sessions/{session_id}", json={"user_id": user_id})).status_code


async def put_alone(process: Running, session_id: str, user_id: str) -> int:
    """A PUT on a connection of its own, so that all of them are at the service at once."""
    host, port = process.addresses["listen"].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"user_id": user_id})
    head = f"PUT /api/v1/sessions/{session_id} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def test_two_thousand_puts_over_five_hundred_ids(
    replica: Running, second: Running, clients: list[httpx.AsyncClient]
) -> None:
    """Every id is created exactly once, every other call finds it, and none fails."""
    user = uuid.uuid4().hex
    ids = [f"{user}-{number}" for number in range(500)]
    calls = ids * 4
    random.Random(7).shuffle(calls)
    processes = (replica, second)
    answers = await asyncio.gather(
        *(put_alone(processes[number % 2], session_id, user) for number, session_id in enumerate(calls))
    )
    assert Counter(answers) == {201: 500, 200: 1500}
    page = (await clients[0].get("/sessions", params={"user_id": user, "limit": 1000})).json()
    assert sorted(one["session_id"] for one in page["sessions"]) == sorted(ids)


async def test_two_owners_racing_through_two_processes(clients: list[httpx.AsyncClient]) -> None:
    """The database decides who has an id: one 201, one 409."""
    for _ in range(30):
        session_id = uuid.uuid4().hex
        answers = await asyncio.gather(put(clients[0], session_id, "ann"), put(clients[1], session_id, "bob"))
        assert sorted(answers) == [201, 409]


async def test_a_follower_of_either_process_sees_what_both_do(
    replica: Running, second: Running, clients: list[httpx.AsyncClient]
) -> None:
    """Every change once, in one order, the same for all followers."""
    ids = [uuid.uuid4().hex for _ in range(20)]
    async with event_stream(replica.url()) as one, event_stream(second.url()) as other:
        await one.up()
        await other.up()
        await asyncio.gather(*(put(clients[number % 2], session_id) for number, session_id in enumerate(ids)))
        for number, session_id in enumerate(ids):
            await clients[number % 2].post(f"/sessions/{session_id}/end")
            await clients[1 - number % 2].delete(f"/sessions/{session_id}")
        await eventually(lambda: len(one.changes) >= 60 and len(other.changes) >= 60)
    assert one.changes == other.changes
    for session_id in ids:
        told = [change for change, about in one.changes if about == session_id]
        assert told == ["created", Status.ENDED, Status.DELETED]


async def test_a_follower_survives_the_death_of_its_process(serving: Serving, clients: list[httpx.AsyncClient]) -> None:
    """While the process it follows is killed and comes back, nothing is missed, doubled or out of order."""
    ids = [uuid.uuid4().hex for _ in range(40)]
    with serving() as followed:
        async with event_stream(followed.url()) as before:
            await before.up()
            for session_id in ids[:20]:
                await put(clients[0], session_id)
            await eventually(lambda: before.changes)
            followed.process.send_signal(signal.SIGKILL)
            for session_id in ids[20:30]:
                await put(clients[1], session_id)
            await eventually(lambda: before.ended)
    with serving() as followed:
        async with event_stream(followed.url(), {"after": before.last_number}) as after:
            for session_id in ids[30:]:
                await put(clients[0], session_id)
            await eventually(lambda: len(before.changes) + len(after.changes) >= 40)
    assert before.changes + after.changes == [("created", session_id) for session_id in ids]
    assert not any(told.name == "reset" for told in before.told + after.told)
