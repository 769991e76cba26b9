"""The state table of the session cache holds, row by row, and its `repr` says what state it is in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.cache.invalidation import LIFE_WITHOUT_EVENTS, SILENCE
from sidecar.cache.session_cache import SessionCache
from sidecar.model import Session, SessionStatus
from sidecar.testing import FakeClock
from tests.support.guard import another_key
from tests.support.state_table import state_table

ANNS = Session("ann", SessionStatus.ACTIVE)
TABLE = state_table("cache/session_cache.py")


def lost_for(seconds: float) -> Callable[[SessionCache, FakeClock], None]:
    """The stream is lost, and time passes."""

    def happen(known: SessionCache, clock: FakeClock) -> None:
        known.stream_down()
        clock.advance(seconds)

    return happen


def lost_and_found(known: SessionCache, clock: FakeClock) -> None:
    known.stream_down()
    clock.advance(1)
    known.stream_up()


def expire(known: SessionCache, clock: FakeClock) -> None:
    for _ in range(60):
        clock.advance(5)
        known.alive(clock.now)


EVENTS: dict[str, Callable[[SessionCache, FakeClock], object]] = {
    "nothing": lambda known, clock: None,
    "its session ends": lambda known, clock: known.ended("s-1"),
    "its session is deleted": lambda known, clock: known.deleted("s-1"),
    "another session is deleted": lambda known, clock: known.deleted(another_key("s-1")),
    "the entry expires": expire,
    "the stream is lost": lost_for(1),
    "the stream is lost for 30 s": lost_for(LIFE_WITHOUT_EVENTS),
    "the stream is lost and returns": lost_and_found,
    "the stream is silent for 45 s": lambda known, clock: clock.advance(SILENCE + LIFE_WITHOUT_EVENTS),
    "the service forgot its events": lambda known, clock: known.forget_all(),
}


def test_the_table_names_every_event() -> None:
    """The table has a row for each event of the test, and no other."""
    assert [row["what happens"] for row in TABLE] == list(EVENTS)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["what happens"])
def test_each_row_of_the_state_table_holds(row: dict[str, str]) -> None:
    """After each event, entry and answer are as the row of the table says."""
    clock = FakeClock()
    known = SessionCache(100, 300.0, clock=clock)
    known.stream_up()
    known.remember("s-1", ANNS, known.ticket())
    ticket = known.ticket()
    EVENTS[row["what happens"]](known, clock)
    assert known.admits("s-1", "ann") == (row["admits"] == "yes")
    assert (known.recall("s-1") is not None) == (row["recalled"] == "yes")
    assert known.remember("s-1", ANNS, ticket) == (row["answer"] == "kept")


def test_its_repr_says_how_full_it_is_and_whether_events_arrive() -> None:
    clock = FakeClock()
    known = SessionCache(100, 300.0, clock=clock)
    known.stream_up()
    known.remember("s-1", ANNS, known.ticket())
    known.admits("s-1", "ann")
    assert "1 of 100 entries, ttl 300 s, event stream up, belief ends in 45.0 s" in repr(known)
    assert "1 hits, 0 misses" in repr(known)
    known.stream_down()
    clock.advance(12.5)
    assert "event stream lost for 12.5 s, belief ends in 17.5 s" in repr(known)
