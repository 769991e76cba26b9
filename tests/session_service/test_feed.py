"""The event feed on both databases, seen from inside the process."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text, update

from service_kit.sql.database import Database
from service_kit.sql.engine import is_sqlite
from session_service.events import EventLog
from session_service.feed import Feed, Heartbeat, Reset
from session_service.model import Change, Event, Session, Status, Wanted
from session_service.store import Store
from session_service.tables import session_event_counter
from tests.session_service.conftest import SCHEMA
from tests.support.eventually import eventually


def ids(count: int) -> list[str]:
    prefix = uuid.uuid4().hex
    return [f"{prefix}-{number}" for number in range(count)]


def wanted(session_ids: list[str]) -> list[Wanted]:
    return [Wanted(session_id, "ann") for session_id in session_ids]


def a_session(session_id: str) -> Session:
    now = dt.datetime.now(dt.UTC)
    return Session(session_id, "ann", Status.ACTIVE, {}, {}, now, now)


@pytest.fixture
def log(database: Database) -> EventLog:
    return EventLog(database)


@pytest.fixture
def store(database: Database, log: EventLog) -> Store:
    return Store(database, log)


@pytest.fixture
async def feed(log: EventLog) -> AsyncIterator[Feed]:
    """A feed that hears of news by polling alone, as another process would."""
    started = Feed(log, poll=0.01, heartbeat=0.05)
    started.start()
    yield started
    await started.stop()


class Follower:
    """Collects what a feed tells."""

    def __init__(self, feed: Feed, after: int) -> None:
        self.told: list[Any] = []
        self._task = asyncio.create_task(self._follow(feed, after))

    async def _follow(self, feed: Feed, after: int) -> None:
        async for some in feed.follow(after):
            self.told.extend(some)

    @property
    def events(self) -> list[Event]:
        return [one for one in self.told if isinstance(one, Event)]

    async def saw(self, *expected: tuple[Change, str]) -> None:
        """Wait until these changes and no others were told, in this order."""

        await eventually(lambda: len(self.events) >= len(expected))
        assert [(one.change, one.session_id) for one in self.events] == list(expected)

    async def beats(self) -> None:
        await eventually(lambda: any(isinstance(one, Heartbeat) for one in self.told))

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 30)


async def test_every_change_is_told_in_order_with_its_owner(feed: Feed, store: Store, log: EventLog) -> None:
    """Creating, ending and deleting are each told once; repeating or patching them is not."""
    follower = Follower(feed, await feed.present())
    await follower.beats()
    (one,) = ids(1)
    for _ in range(2):
        await store.ensure(wanted([one]))
    await store.update(one, {"metadata": {"a": 1}})
    for _ in range(2):
        await store.end(one)
    for _ in range(2):
        await store.delete(one)
    await follower.saw((Change.CREATED, one), (Change.ENDED, one), (Change.DELETED, one))
    assert {event.user_id for event in follower.events} == {"ann"}
    assert all(event.at.utcoffset() == dt.timedelta(0) for event in follower.events)


async def test_an_event_is_only_as_true_as_its_transaction(feed: Feed, database: Database, log: EventLog) -> None:
    """A rolled back change leaves no event and no gap in the numbers."""
    before = await feed.present()

    async def fail_after_appending() -> None:
        async with database.writing() as connection:
            await connection.run_sync(log.append, Change.CREATED, [a_session("never")], dt.datetime.now(dt.UTC))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_appending()
    assert await feed.present() == before
    assert await log.after(before, 10) == []


async def test_a_lower_number_is_never_visible_after_a_higher_one(
    feed: Feed, database: Database, database_url: str, log: EventLog
) -> None:
    """A takes its number and lingers; B, which wants to commit first, must wait; both are told, in order."""
    follower = Follower(feed, await feed.present())
    await follower.beats()
    a, b = ids(2)
    other_process = Database(database_url, SCHEMA)
    other_store = Store(other_process, EventLog(other_process))
    async with database.writing() as connection:
        await connection.run_sync(log.append, Change.CREATED, [a_session(a)], dt.datetime.now(dt.UTC))
        racing = asyncio.create_task(other_store.ensure(wanted([b])))
        if not is_sqlite(connection):
            await eventually(partial(_is_somebody_waiting, database))
        assert not racing.done()
        assert follower.events == []
    await racing
    await other_process.close()
    await follower.saw((Change.CREATED, a), (Change.CREATED, b))
    assert follower.events[1].number == follower.events[0].number + 1


async def _is_somebody_waiting(database: Database) -> bool:
    """Whether a transaction on this Postgres database waits for another's lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with database.reading() as connection:
        return bool((await connection.execute(text(query))).scalar_one())


async def test_following_from_zero_tells_everything_there_ever_was(feed: Feed, store: Store, log: EventLog) -> None:
    """0 is the beginning of a history that starts with any number."""
    await store.ensure(wanted(ids(3)))
    history = await log.history()
    follower = Follower(feed, 0)
    await follower.beats()
    assert [event.number for event in follower.events] == list(range(history.base + 1, history.last + 1))
    assert not any(isinstance(one, Reset) for one in follower.told)


async def test_a_follower_goes_on_after_the_number_it_names(feed: Feed, store: Store) -> None:
    """Resuming repeats nothing and leaves nothing out."""
    before = await feed.present()
    some = ids(5)
    await store.ensure(wanted(some))
    follower = Follower(feed, before + 2)
    await follower.saw(*((Change.CREATED, one) for one in some[2:]))


async def test_a_follower_far_behind_reads_from_the_log(log: EventLog, store: Store) -> None:
    """What happened before the feed began, or fell out of its memory, is read from the database."""
    before = (await log.history()).last
    many = ids(2500)
    for start in range(0, len(many), 1000):
        await store.ensure(wanted(sorted(many)[start : start + 1000]))
    feed = Feed(log, poll=0.01, heartbeat=0.05)
    feed.start()
    follower = Follower(feed, before)
    await follower.saw(*((Change.CREATED, one) for one in sorted(many)))
    await feed.stop()


@pytest.mark.parametrize("number", [-1, 1, 2**62])
async def test_a_number_of_another_history_resets_the_follower(feed: Feed, store: Store, number: int) -> None:
    """A number that was never given is answered by the present and a call to forget."""
    present = await feed.present()
    follower = Follower(feed, number)
    await follower.beats()
    assert follower.told[0] == Reset(present)
    (one,) = ids(1)
    await store.ensure(wanted([one]))
    await follower.saw((Change.CREATED, one))


async def test_a_pruned_past_resets_the_follower(log: EventLog, store: Store) -> None:
    """Who asks for events that are not kept is told to forget; who asks for kept ones gets them."""
    await store.ensure(wanted(ids(20)))
    last = (await log.history()).last
    await log.prune(10)
    assert [event.number for event in await log.after(0, 100)] == list(range(last - 9, last + 1))
    feed = Feed(log, poll=0.01, heartbeat=0.05)
    feed.start()
    lost, served, beginning = Follower(feed, last - 11), Follower(feed, last - 10), Follower(feed, 0)
    for follower in (lost, served, beginning):
        await follower.beats()
    assert lost.told[0] == beginning.told[0] == Reset(last)
    assert lost.events == beginning.events == []
    assert [event.number for event in served.events] == list(range(last - 9, last + 1))
    await feed.stop()


async def test_a_wholly_pruned_past_resets_the_follower(store: Store, log: EventLog) -> None:
    """An empty log is not taken for a quiet one."""
    await store.ensure(wanted(ids(3)))
    last = (await log.history()).last
    await log.prune(0)
    feed = Feed(log, poll=0.01, heartbeat=0.05)
    feed.start()
    follower = Follower(feed, last - 1)
    await follower.beats()
    assert follower.told[0] == Reset(last)
    await feed.stop()


async def test_the_log_is_pruned_as_it_grows(log: EventLog, store: Store) -> None:
    """A feed that reads events sees to it that old ones go."""
    feed = Feed(log, poll=0.01, kept=5)
    feed.start()
    follower = Follower(feed, await feed.present())
    await follower.beats()
    await store.ensure(wanted(ids(30)))

    async def only_five_left() -> bool:
        return len(await log.after(0, 1000)) == 5

    await eventually(only_five_left)
    await feed.stop()


async def test_a_log_that_was_replaced_resets_those_who_follow(feed: Feed, store: Store, database: Database) -> None:
    """A database restored from a backup has a shorter history; followers are told, then go on in it."""
    present = await feed.present()
    await store.ensure(wanted(ids(2)))
    follower = Follower(feed, present)
    await follower.beats()
    async with database.writing() as connection:
        await connection.execute(text("DELETE FROM session_events"))
        await connection.execute(update(session_event_counter).values(last=session_event_counter.c.base))

    await eventually(lambda: isinstance(follower.told[-2], Reset) or isinstance(follower.told[-1], Reset))
    (one,) = ids(1)
    await store.ensure(wanted([one]))

    await eventually(lambda: follower.events[-1].session_id == one)


async def test_silence_is_filled_with_heartbeats(feed: Feed) -> None:
    """A follower that hears nothing at all knows that something is wrong."""
    follower = Follower(feed, await feed.present())

    await eventually(lambda: follower.told[:3] == [Heartbeat()] * 3)


async def test_a_feed_that_cannot_read_ends_its_streams(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats say that nothing happened; who cannot know does not say so."""
    feed = Feed(log, poll=0.01, heartbeat=0.01)
    feed.start()
    follower = Follower(feed, await feed.present())
    await follower.beats()
    monkeypatch.setattr("session_service.feed._BLIND_AFTER", 0.0)
    await follower.ended()
    await feed.stop()


async def test_stopping_waits_for_no_heartbeat(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat ends because it is asked to, not because patience with it is over."""
    monkeypatch.setattr("session_service.background._PATIENCE", 3600)
    feed = Feed(log, poll=3600, heartbeat=3600)
    feed.start()
    await asyncio.sleep(0)  # both tasks begin
    async with asyncio.timeout(30):
        await feed.stop()


async def test_stopping_ends_every_stream(log: EventLog) -> None:
    """A stream never ends by itself, so a stop has to end it."""
    feed = Feed(log)
    feed.start()
    followers = [Follower(feed, await feed.present()) for _ in range(3)]
    for follower in followers:
        await follower.beats()
    await feed.stop()
    for follower in followers:
        await follower.ended()


async def test_numbers_are_given_without_gaps_under_contention(feed: Feed, database_url: str, log: EventLog) -> None:
    """Many writers in several processes: a follower sees every number once and in order."""
    before = await feed.present()
    databases = [Database(database_url, SCHEMA) for _ in range(3)]
    stores = [Store(database, EventLog(database)) for database in databases]
    many = ids(90)
    await asyncio.gather(*(store.ensure(wanted([one])) for store, one in zip(itertools.cycle(stores), many)))
    follower = Follower(feed, before)

    await eventually(lambda: len(follower.events) == len(many))
    assert [event.number for event in follower.events] == list(range(before + 1, before + 91))
    assert {event.session_id for event in follower.events} == set(many)
    for database in databases:
        await database.close()


async def test_what_this_process_commits_is_told_without_reading_it_back(log: EventLog, database: Database) -> None:
    """Nothing is told twice where another process writes in between, and nothing is missing."""
    feed = Feed(log, poll=0.05, heartbeat=30.0)
    ours, theirs = Store(database, log, feed.take), Store(database, log)
    feed.start()
    follower = Follower(feed, await feed.present())
    await follower.beats()
    created = ids(30)
    for number, one in enumerate(created):
        await (theirs if number % 5 == 4 else ours).ensure(wanted([one]))
    await follower.saw(*((Change.CREATED, one) for one in created))
    numbers = [event.number for event in follower.events]
    assert numbers == list(range(numbers[0], numbers[0] + 30))
    await feed.stop()


async def test_events_that_do_not_follow_are_read_from_the_log(log: EventLog, store: Store) -> None:
    """A later event that is taken first is not told ahead of an earlier one."""
    feed = Feed(log, poll=3600, heartbeat=30.0)
    feed.start()
    follower = Follower(feed, await feed.present())
    await follower.beats()
    first, second = ids(2)
    await store.ensure(wanted([first]))
    await store.ensure(wanted([second]))
    feed.take([(await log.after(await feed.present() - 2, 2))[1]])
    await follower.saw((Change.CREATED, first), (Change.CREATED, second))
    await feed.stop()
