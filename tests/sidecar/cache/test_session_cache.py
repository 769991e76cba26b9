"""The cache of known sessions: owners, expiry, events, generations, bounds, and what a million entries cost."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

from sidecar.cache.invalidation import LIFE_WITHOUT_EVENTS, SILENCE
from sidecar.cache.session_cache import JITTER, SessionCache
from sidecar.model import Session, SessionStatus
from sidecar.testing import FakeClock
from tests.support.guard import another_key

ANNS = Session("ann", SessionStatus.ACTIVE)
TTL = 300.0


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def known(clock):
    """A cache whose event stream is up."""
    known = SessionCache(100, TTL, clock=clock)
    known.stream_up()
    return known


def learn(known: SessionCache, key="s-1", session: Session = ANNS) -> None:
    assert known.remember(key, session, known.ticket())


def live(known: SessionCache, clock: FakeClock, seconds: float) -> None:
    """Let time pass while the stream gives signs of life."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now = min(end, clock.now + 5)
        known.alive(clock.now)


def test_what_was_never_learnt_is_not_known(known):
    """A session that was never learnt is neither admitted, given nor recalled."""
    assert not known.admits("s-1", "ann")
    assert known.get("s-1") is None
    assert known.recall("s-1") is None


def test_a_session_admits_its_owner_alone(known):
    """The owner is compared byte for byte, and None is no user."""
    learn(known)
    assert known.admits("s-1", "ann")
    assert not any(known.admits("s-1", user) for user in ["bob", "Ann", "ann ", "", None])
    assert known.get("s-1") == ANNS


def test_a_session_without_owner_admits_whoever_names_none(known):
    """A session without an owner admits a request without a user."""
    learn(known, session=Session(None, SessionStatus.ACTIVE))
    assert known.admits("s-1", None)
    assert not known.admits("s-1", "ann")


def test_scoped_keys_are_apart(known):
    """One id in two scopes is two sessions."""
    learn(known, ("app", "ann", "s-1"))
    assert known.admits(("app", "ann", "s-1"), "ann")
    assert not known.admits(("app", "bob", "s-1"), "ann")
    assert not known.admits("s-1", "ann")


@pytest.mark.parametrize(("ended_admits", "admitted"), [(True, True), (False, False)])
def test_an_ended_session_admits_by_policy(clock, ended_admits, admitted):
    """An ended session is admitted only where the policy says so."""
    known = SessionCache(100, TTL, ended_admits=ended_admits, clock=clock)
    learn(known, session=Session("ann", SessionStatus.ENDED))
    assert known.admits("s-1", "ann") == admitted
    assert known.get("s-1") == Session("ann", SessionStatus.ENDED)


def test_a_tombstone_admits_nobody(known):
    """A tombstone admits no user, its former owner included."""
    learn(known, session=Session("ann", SessionStatus.DELETED))
    assert not known.admits("s-1", "ann")
    assert known.get("s-1") == Session("ann", SessionStatus.DELETED)


def test_entries_expire_within_the_jitter_before_the_time_to_live(known, clock):
    """Each entry expires between its jittered time and the TTL, and not all at once."""
    keys = [f"s-{n}" for n in range(100)]
    for key in keys:
        learn(known, key)
    live(known, clock, TTL * (1 - JITTER) - 0.001)
    assert all(known.admits(key, "ann") for key in keys)
    live(known, clock, TTL * JITTER / 2)
    assert 0 < sum(known.admits(key, "ann") for key in keys) < 100
    live(known, clock, TTL * JITTER / 2 + 0.001)
    assert not any(known.admits(key, "ann") or known.get(key) for key in keys)


def test_what_expired_is_still_recalled(known, clock):
    """An expired entry admits nothing and is still recalled."""
    learn(known)
    clock.advance(TTL + 1)
    assert known.recall("s-1") == ANNS


def test_what_was_given_last_stays_when_another_has_to_make_room(known):
    """`get` counts as a use of the entry, always."""
    for n in range(100):
        learn(known, f"s-{n}")
    assert known.get("s-0")
    learn(known, "s-new")
    assert known.get("s-0")
    assert not known.get("s-1")


def test_what_is_used_often_stays_when_another_has_to_make_room(known):
    """The bound holds, and of seven uses in a row one is noted."""
    for n in range(100):
        learn(known, f"s-{n}")
    assert all(known.admits("s-0", "ann") for _ in range(7))
    learn(known, "s-new")
    assert len(known) == 100
    assert known.admits("s-0", "ann")
    assert not known.admits("s-1", "ann")


def test_the_event_of_a_deletion_leaves_a_tombstone(known):
    """A deletion leaves a tombstone, whether the session was known or not."""
    learn(known)
    known.deleted("s-1")
    known.deleted("s-2")
    for key in ("s-1", "s-2"):
        assert not known.admits(key, "ann")
        assert known.get(key) == Session(None, SessionStatus.DELETED)


def test_the_event_of_an_end_changes_what_is_known(known):
    """An end keeps the owner and the expiry of the entry."""
    learn(known)
    known.ended("s-1")
    assert known.get("s-1") == Session("ann", SessionStatus.ENDED)


def test_the_event_of_an_end_changes_neither_the_unknown_nor_the_deleted(known):
    """An end creates no entry, and does not revive a tombstone."""
    known.ended("s-1")
    known.deleted("s-2")
    known.ended("s-2")
    assert known.get("s-1") is None
    assert known.get("s-2") == Session(None, SessionStatus.DELETED)


@pytest.mark.parametrize("event", ["ended", "deleted"])
def test_an_answer_that_an_event_overtook_is_dropped(known, event):
    """An answer is dropped if an event came after its ticket."""
    ticket = known.ticket()
    getattr(known, event)("s-1")
    assert not known.remember("s-1", ANNS, ticket)
    assert not known.admits("s-1", "ann")


def test_an_answer_to_a_question_after_the_event_is_kept(known):
    """An answer is kept if its ticket was taken after the event."""
    known.ended("s-1")
    learn(known)
    assert known.admits("s-1", "ann")


def test_an_event_about_another_session_overtakes_nothing(known):
    """An event about a session with another slot drops no answer."""
    ticket = known.ticket()
    known.deleted(another_key("s-1"))
    assert known.remember("s-1", ANNS, ticket)


@pytest.mark.parametrize("change", ["forget_all", "stream_up"])
def test_an_answer_that_a_reconnect_overtook_is_dropped(known, change):
    """An answer that was under way during a reconnect is dropped."""
    known.stream_down()
    ticket = known.ticket()
    getattr(known, change)()
    assert not known.remember("s-1", ANNS, ticket)


def test_forgetting_all_leaves_nothing_to_admit_or_recall(known):
    """A reset drops entries and tombstones; what is learnt after it counts."""
    learn(known, "s-1")
    known.deleted("s-2")
    known.forget_all()
    for key in ("s-1", "s-2"):
        assert not known.admits(key, "ann")
        assert known.get(key) is None
        assert known.recall(key) is None
    learn(known, "s-1")
    assert known.admits("s-1", "ann")
    assert known.recall("s-1") == ANNS


def test_when_the_stream_is_lost_entries_live_a_little_longer(known, clock):
    """Entries admit until 30 s after the loss of the stream, and no longer."""
    learn(known)
    clock.advance(10)
    known.stream_down()
    clock.advance(LIFE_WITHOUT_EVENTS - 0.001)
    assert known.admits("s-1", "ann")
    assert known.get("s-1") == ANNS
    clock.advance(0.001)
    assert known.get("s-1") is None
    assert not known.admits("s-1", "ann")
    assert known.recall("s-1") == ANNS


def test_the_fast_question_notices_the_end_of_grace_by_itself(known, clock):
    """`admits` alone notices that the 30 s are over."""
    learn(known)
    known.stream_down()
    clock.advance(LIFE_WITHOUT_EVENTS)
    assert not known.admits("s-1", "ann")


def test_an_entry_that_expires_earlier_does_so_although_the_stream_is_lost(known, clock):
    """An entry expires at its own time where that comes before the 30 s."""
    learn(known)
    clock.advance(TTL - 1)
    known.stream_down()
    clock.advance(1)
    assert not known.admits("s-1", "ann")


def test_losing_the_stream_twice_lengthens_nothing(known, clock):
    """A second loss does not lengthen the 30 s of the first."""
    learn(known)
    known.stream_down()
    clock.advance(20)
    known.stream_down()
    clock.advance(10)
    assert not known.admits("s-1", "ann")


def test_what_the_grace_ended_does_not_come_back_with_the_stream(known, clock):
    """Entries that the loss outdated stay outdated after the stream is back, also if they were not asked for."""
    learn(known)
    known.stream_down()
    clock.advance(LIFE_WITHOUT_EVENTS)
    known.stream_up()
    assert not known.admits("s-1", "ann")


def test_a_stream_that_returns_in_time_saves_what_was_known(known, clock):
    """Entries live out their own time where the stream is back within 30 s."""
    learn(known)
    known.stream_down()
    clock.advance(LIFE_WITHOUT_EVENTS - 1)
    known.stream_up()
    live(known, clock, 200)
    assert known.admits("s-1", "ann")


def test_belief_ends_by_itself_when_nothing_is_heard(known, clock):
    """Belief ends without a noted loss, as for a process that was stopped."""
    learn(known)
    clock.advance(SILENCE + LIFE_WITHOUT_EVENTS - 0.001)
    assert known.admits("s-1", "ann")
    clock.advance(0.001)
    assert not known.admits("s-1", "ann")
    assert known.get("s-1") is None
    assert known.recall("s-1") == ANNS


def test_a_sign_of_life_moves_the_end_of_belief(known, clock):
    """A sign of life moves the end of belief, counted from the moment until which everything was told."""
    learn(known)
    clock.advance(40)
    known.alive(clock.now - 10)
    clock.advance(SILENCE + LIFE_WITHOUT_EVENTS - 10 - 0.001)
    assert known.admits("s-1", "ann")
    clock.advance(0.001)
    assert not known.admits("s-1", "ann")


def test_a_loss_that_is_noticed_late_lengthens_nothing(known, clock):
    """A loss that is noted late keeps the end that the last sign of life set."""
    learn(known)
    clock.advance(44)
    known.stream_down()
    assert known.admits("s-1", "ann")
    clock.advance(1)
    assert not known.admits("s-1", "ann")


def test_a_sign_of_life_brings_nothing_back(known, clock):
    """A sign of life does not revive what was learnt before belief ended."""
    learn(known, "s-1")
    clock.advance(60)
    known.alive(clock.now)
    assert not known.admits("s-1", "ann")
    learn(known, "s-2")
    assert known.admits("s-2", "ann")
    clock.advance(LIFE_WITHOUT_EVENTS)
    assert not known.admits("s-2", "ann")


def test_an_answer_from_before_belief_ended_is_dropped(known, clock):
    """An answer that was under way when belief ended is dropped."""
    ticket = known.ticket()
    clock.advance(60)
    assert known.overtaken("s-1", ticket)
    assert not known.remember("s-1", ANNS, ticket)


@pytest.mark.parametrize("event", ["ended", "deleted"])
def test_an_event_outdates_its_session_in_every_scope(known, event):
    """An event names the id alone and outdates the entry in each scope; what is learnt after it counts."""
    for scope in ("app-1", "app-2"):
        learn(known, (scope, "s-1"))
    getattr(known, event)("s-1")
    for scope in ("app-1", "app-2"):
        assert not known.admits((scope, "s-1"), "ann")
        assert known.get((scope, "s-1")) is None
    learn(known, ("app-1", "s-1"))
    assert known.admits(("app-1", "s-1"), "ann")


def test_an_event_outdates_no_other_scoped_session(known):
    """An event does not outdate scoped sessions whose ids have another slot."""
    other = another_key("s-1")
    learn(known, ("app", other))
    known.deleted("s-1")
    assert known.admits(("app", other), "ann")


def test_a_deleted_session_is_recalled_as_deleted_in_every_scope(known):
    """A deleted session is recalled as deleted in each scope."""
    learn(known, ("app", "s-1"))
    known.deleted("s-1")
    assert known.recall(("app", "s-1")) == Session(None, SessionStatus.DELETED)


def test_what_is_learnt_of_a_scope_after_a_deletion_is_recalled(known):
    """The deletion was another scope's where the session service finds the session in this one afterwards."""
    learn(known, ("app", "s-1"))
    known.deleted("s-1")
    learn(known, ("app", "s-1"))
    assert known.recall(("app", "s-1")) == ANNS
    known.deleted("s-1")
    assert known.recall(("app", "s-1")) == Session(None, SessionStatus.DELETED)


@pytest.mark.parametrize("key", ["s-1", ("app", "ann", "s-1")])
def test_nothing_outdates_a_deletion_that_went_through_this_process(known, clock, key):
    """The tombstone outlives its time, events of the same id, a lost stream and a reset."""
    known.bury(key)
    known.bury(("app", "bob", "s-1"))
    known.deleted("s-1")
    known.ended("s-1")
    known.stream_down()
    clock.advance(LIFE_WITHOUT_EVENTS + TTL)
    known.stream_up()
    known.forget_all()
    assert known.get(key) == known.recall(key) == Session(None, SessionStatus.DELETED)


def test_an_answer_about_a_scoped_session_is_overtaken_by_its_event(known):
    """An answer about a scoped session is dropped if its event came after the ticket."""
    ticket = known.ticket()
    known.deleted("s-1")
    assert not known.remember(("app", "s-1"), ANNS, ticket)


def test_a_reconnect_saves_scoped_sessions_too(known, clock):
    """Scoped entries survive a reconnect within 30 s."""
    learn(known, ("app", "s-1"))
    known.stream_down()
    known.stream_up()
    assert known.admits(("app", "s-1"), "ann")


def test_what_is_learnt_soon_after_a_loss_shares_its_end(known, clock):
    """What is learnt within 30 s after a loss is disbelieved at the end of the 30 s too."""
    known.stream_down()
    clock.advance(20)
    learn(known)
    clock.advance(9.999)
    assert known.admits("s-1", "ann")
    clock.advance(0.001)
    assert not known.admits("s-1", "ann")


def test_what_is_learnt_long_after_a_loss_lives_as_long(known, clock):
    """What is learnt later than that is believed for 30 s."""
    known.stream_down()
    clock.advance(100)
    learn(known)
    clock.advance(LIFE_WITHOUT_EVENTS - 0.001)
    assert known.admits("s-1", "ann")
    clock.advance(0.001)
    assert not known.admits("s-1", "ann")


def test_a_short_time_to_live_holds_without_events_too(clock):
    """A TTL under 30 s holds without a stream too."""
    known = SessionCache(100, 5.0, clock=clock)
    learn(known)
    clock.advance(5)
    assert not known.admits("s-1", "ann")


def test_until_the_stream_is_up_entries_live_as_if_it_were_lost(clock):
    """Before the stream is first up, entries live as after a loss."""
    known = SessionCache(100, TTL, clock=clock)
    learn(known)
    clock.advance(LIFE_WITHOUT_EVENTS)
    assert not known.admits("s-1", "ann")


def test_where_there_is_no_stream_the_time_to_live_alone_counts(clock):
    """Without a stream in the profile, the TTL alone counts."""
    known = SessionCache(100, TTL, followed=False, clock=clock)
    learn(known)
    clock.advance(TTL * (1 - JITTER) - 1)
    assert known.admits("s-1", "ann")


def test_hits_and_misses_are_counted(known):
    """Hits and misses are counted, once for each question."""
    learn(known)
    assert known.admits("s-1", "ann")
    assert known.get("s-1")
    assert not known.admits("s-2", "ann")
    assert known.get("s-2") is None
    assert (known.hits, known.misses) == (2, 1)


def test_an_entry_costs_less_than_200_bytes_beyond_its_strings():
    """An entry takes less than 200 bytes beyond its strings, measured on 50,000 entries."""
    known = SessionCache(100_000, TTL)
    keys = [f"session-{n}" for n in range(50_000)]
    gc.collect()
    tracemalloc.start()
    try:
        for key in keys:
            known.remember(key, ANNS, known.ticket())
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / len(keys) < 200


def test_entries_are_nothing_to_the_garbage_collector(known):
    """The garbage collector stops tracking an entry at its first collection."""
    learn(known)
    learn(known, ("app", "s-2"))
    gc.collect()
    for key in ("s-1", ("app", "s-2")):
        entry = known._entries.peek(key)
        assert not gc.is_tracked(entry)
        assert sys.getsizeof(entry) < 100


def test_expired_entries_are_replaced_one_by_one(clock):
    """Each new entry replaces at most one of the expired ones, however many expired at once."""
    known = SessionCache(1000, TTL, followed=False, clock=clock)
    for n in range(1000):
        learn(known, f"s-{n}")
    clock.advance(10 * TTL)
    learn(known, "s-new")
    assert len(known) == 1000
    known.forget_all()
    assert len(known) == 1000
