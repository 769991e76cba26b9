"""What only Postgres has: connections that break, and notifications between processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest
from sqlalchemy import event, text

from service_kit.sql.database import Database
from service_kit.sql.migrations import Migrations
from session_service.app import SessionService
from session_service.events import EventLog
from session_service.feed import Feed, Told
from session_service.model import Change, Conflict, Created, Event, Found, Session, Status, Wanted
from session_service.notifications import Notifications
from session_service.settings import VERSION_TABLE, Settings
from session_service.store import Store
from tests.session_service.conftest import SCHEMA, migrations
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
"""How many connections wait for a lock."""


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.create_database()
    asyncio.run(migrations(made).move())
    yield made
    postgres.drop_database(made)


@pytest.fixture
async def other(url: str) -> AsyncIterator[Database]:
    """Another process, as far as the database can tell."""
    database = Database(url, SCHEMA)
    yield database
    await database.close()


async def break_connections(database: Database) -> None:
    """What a restart of the server does to all connections but the one that asks."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    async with database.reading() as connection:
        await connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))


async def listeners(database: Database) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    async with database.reading() as connection:
        return int((await connection.execute(text(query))).scalar_one())


async def test_no_call_fails_because_of_connections_that_died_while_idle(url: str, other: Database) -> None:
    """Every kind of call survives a restart of the database between two calls."""
    service = SessionService(Settings(SESSION_DATABASE_URL=url))
    transport = httpx.ASGITransport(service.app)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service/api/v1") as client:
        calls = [
            ("PUT", "/sessions/durable", {"user_id": "ann"}, 201),
            ("PUT", "/sessions/durable", {"user_id": "ann"}, 200),
            ("GET", "/sessions/durable", None, 200),
            ("GET", "/sessions", None, 200),
            ("PATCH", "/sessions/durable", {"metadata": {"a": 1}}, 200),
            ("POST", "/sessions:ensure", {"sessions": []}, 200),
            ("POST", "/sessions/durable/end", None, 200),
            ("DELETE", "/sessions/durable", None, 204),
            ("GET", "http://service/health", None, 200),
        ]
        for method, path, body, expected in calls:
            await break_connections(other)
            assert (await client.request(method, path, json=body)).status_code == expected


async def test_news_of_other_processes_come_without_polling(url: str, other: Database) -> None:
    """A notification wakes the feed; when its connection breaks, another is made and nothing is missed."""
    database = Database(url, SCHEMA)
    feed = Feed(EventLog(database), poll=3600)
    notifications = Notifications(database, feed.wake)
    feed.start()
    notifications.start()
    told: list[str] = []

    def note(one: Told) -> None:
        told.append(one.session_id if isinstance(one, Event) else "")

    async def follow() -> None:
        async for some in feed.follow(await feed.present()):
            for one in some:
                note(one)

    following = asyncio.create_task(follow())
    await eventually(lambda: listeners(other))
    await eventually(lambda: told)  # more than one heartbeat may have passed by now
    store = Store(other, EventLog(other))
    await store.ensure([Wanted("heard", "ann")])
    await eventually(lambda: "heard" in told)
    await break_connections(other)
    await store.ensure([Wanted("not-lost", "ann")])
    await eventually(lambda: "not-lost" in told)
    await eventually(lambda: listeners(other))
    await store.ensure([Wanted("heard-again", "ann")])
    await eventually(lambda: "heard-again" in told)
    await feed.stop()
    await notifications.stop()
    await following
    await database.close()


async def test_own_news_are_not_heard(url: str, other: Database) -> None:
    """The store tells the feed of them by itself. Notifications come in the order of commits."""
    database = Database(url, SCHEMA)
    heard: list[None] = []
    notifications = Notifications(database, lambda: heard.append(None))
    notifications.start()
    await eventually(lambda: heard)
    for number in range(3):
        await Store(database, EventLog(database)).ensure([Wanted(f"own-{number}", "ann")])
    await Store(other, EventLog(other)).ensure([Wanted("foreign", "ann")])
    await eventually(lambda: len(heard) > 1)
    assert len(heard) == 2
    await notifications.stop()
    await database.close()


async def test_finding_sessions_notifies_no_process(url: str, other: Database) -> None:
    """Nothing was written, so followers have nothing to read."""
    database = Database(url, SCHEMA)
    store = Store(database, EventLog(database))
    wanted = [Wanted("already-there", "ann")]
    await store.ensure(wanted)
    heard: list[None] = []
    notifications = Notifications(other, lambda: heard.append(None))
    notifications.start()
    await eventually(lambda: heard)
    for _ in range(3):
        await store.ensure(wanted)
    await store.ensure([Wanted("new-there", "ann")])
    await eventually(lambda: len(heard) > 1)
    assert len(heard) == 2
    await notifications.stop()
    await database.close()


async def test_a_session_that_another_process_commits_meanwhile_is_found(url: str, other: Database) -> None:
    """It was not there when the statement began, and cannot be inserted; its owner counts all the same."""
    database = Database(url, SCHEMA)
    store = Store(database, EventLog(database))
    async with other.reading() as looking:
        async with other.writing() as connection:
            await connection.execute(
                text("INSERT INTO sessions (session_id, user_id) VALUES ('raced-a', 'ann'), ('raced-b', 'bob')")
            )
            wanted = [Wanted(each, "ann") for each in ("raced-a", "raced-b", "raced-c")]
            ensuring = asyncio.create_task(store.ensure(wanted))
            await eventually(lambda: looking.scalar(text(WAITING)))
        outcomes = await ensuring
    assert [type(outcome) for outcome in outcomes] == [Found, Conflict, Created]
    await database.close()


async def test_a_change_and_its_event_are_one_statement(url: str, other: Database) -> None:
    """So the event counter, for which every writer waits, is not locked while a network is crossed."""
    store = Store(other, EventLog(other))
    await store.ensure([Wanted("in-one", "ann")])
    before = (await EventLog(other).history()).last
    executed: list[str] = []
    event.listen(other.engine.sync_engine, "before_cursor_execute", lambda *given: executed.append(given[2]))
    calls = [store.update("in-one", {"metadata": {"a": 1}}), store.end("in-one", "ann"), store.delete("in-one")]
    statuses = [(await call).status for call in calls]
    assert (statuses, len(executed)) == ([Status.ACTIVE, Status.ENDED, Status.DELETED], 3)
    written = [(each.number, each.change, each.session_id) for each in await EventLog(other).after(before, 10)]
    assert written == [(before + 1, Change.ENDED, "in-one"), (before + 2, Change.DELETED, "in-one")]


CHANGES: dict[str, Callable[[Store, str], Awaitable[Session | None]]] = {
    "end": lambda store, session_id: store.end(session_id),
    "delete": lambda store, session_id: store.delete(session_id),
    "update": lambda store, session_id: store.update(session_id, {"metadata": {}}),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_waits_for_a_deletion_tells_of_it(url: str, other: Database, change: str) -> None:
    """It was there when the statement began, and cannot be changed: no event is written, and the tombstone is seen."""
    database = Database(url, SCHEMA)
    store = Store(database, EventLog(database))
    deleted = f"deleted-before-{change}"
    await store.ensure([Wanted(deleted, "ann")])
    before = await EventLog(other).history()
    async with other.reading() as looking:
        async with other.writing() as connection:
            await connection.execute(
                text("UPDATE sessions SET status = 'deleted' WHERE session_id = :deleted"), {"deleted": deleted}
            )
            changing = asyncio.ensure_future(CHANGES[change](store, deleted))
            await eventually(lambda: looking.scalar(text(WAITING)))
        session = await changing
    assert session is not None
    assert session.status is Status.DELETED
    assert await EventLog(other).history() == before
    await database.close()


async def test_changes_of_many_sessions_at_once_leave_no_gap_in_the_events(url: str, other: Database) -> None:
    """Creations, ends and deletions of two processes wait for each other, and never in a circle."""
    database = Database(url, SCHEMA)
    stores = [Store(each, EventLog(each)) for each in (database, other)]
    ids = [f"many-{number}" for number in range(40)]
    await stores[0].ensure([Wanted(each, "ann") for each in ids[:20]])
    before = (await EventLog(other).history()).last
    await asyncio.gather(
        *(store.end(each) for each in ids[:20] for store in stores),
        *(store.delete(each) for each in ids[:20] for store in stores),
        *(store.ensure([Wanted(each, "ann") for each in ids[20:]]) for store in stores),
    )
    written = await EventLog(other).after(before, 1000)
    assert [each.number for each in written] == list(range(before + 1, before + len(written) + 1))
    told = Counter(each.change for each in written)
    assert (told[Change.DELETED], told[Change.CREATED]) == (20, 20)
    await database.close()


async def test_services_in_two_schemas_of_one_database_do_not_hear_each_other(url: str, other: Database) -> None:
    """Each schema is a service of its own."""
    await Migrations("session_service", url, "elsewhere", VERSION_TABLE).move()
    elsewhere = Database(url, "elsewhere")
    store, theirs = Store(other, EventLog(other)), Store(elsewhere, EventLog(elsewhere))
    await store.ensure([Wanted("mine", "ann")])
    assert await theirs.get(["mine"]) == [None]
    before = (await EventLog(other).history()).last
    await theirs.ensure([Wanted("theirs", "bob")])
    assert (await EventLog(other).history()).last == before
    await elsewhere.close()


async def test_a_row_that_the_database_refuses_fails_alone(url: str, other: Database) -> None:
    """Sessions that are created in the same transaction are created all the same."""
    async with other.writing() as connection:
        for statement in (
            (
                f"CREATE FUNCTION {SCHEMA}.refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN IF NEW.session_id = 'refused' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$"
            ),
            f"CREATE TRIGGER refuse BEFORE INSERT ON {SCHEMA}.sessions FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.refuse()",
        ):
            await connection.execute(text(statement))
    service = SessionService(Settings(SESSION_DATABASE_URL=url))
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service/api/v1") as client:
        ids = [f"beside-{number}" for number in range(20)]
        ids.insert(10, "refused")
        answers = await asyncio.gather(*(client.put(f"/sessions/{each}", json={"user_id": "ann"}) for each in ids))
    assert {
        each: answer.status_code for each, answer in zip(ids, answers, strict=True) if answer.status_code != 201
    } == {"refused": 500}
    async with other.writing() as connection:
        await connection.execute(text(f"DROP FUNCTION {SCHEMA}.refuse() CASCADE"))
