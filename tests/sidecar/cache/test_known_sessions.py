"""What the guard relies on in the cache, whatever else that is told."""

from __future__ import annotations

import pytest

from sidecar.cache.session_cache import SessionCache
from sidecar.model import Session, SessionStatus


@pytest.fixture
def known() -> SessionCache:
    return SessionCache(100, 300.0, followed=False)


@pytest.mark.parametrize("key", ["s-1", ("app", "s-1")])
def test_nothing_is_known_at_first(known, key):
    """An unknown session is neither admitted nor recalled."""
    assert not known.admits(key, "ann")
    assert known.get(key) is None
    assert known.ticket_to_ask(key) == known.ticket()
    assert known.recall(key) is None


@pytest.mark.parametrize("key", ["s-1", ("app", "s-1")])
@pytest.mark.parametrize("status", [SessionStatus.ACTIVE, SessionStatus.ENDED])
def test_what_is_remembered_admits_its_owner(known, key, status):
    """A remembered session admits its owner alone."""
    session = Session("ann", status)
    assert known.remember(key, session, known.ticket())
    assert known.admits(key, "ann")
    assert not known.admits(key, "bob")
    assert not known.admits(key, None)
    assert known.get(key) == known.recall(key) == session
    assert known.ticket_to_ask(key) == known.ticket()


def test_a_tombstone_is_known_and_admits_nobody(known):
    """A tombstone is known and admits no user."""
    for owner in ("ann", None):
        assert known.remember("s-1", Session(owner, SessionStatus.DELETED), known.ticket())
        assert known.get("s-1") == Session(owner, SessionStatus.DELETED)
        assert known.ticket_to_ask("s-1") is None
        assert not known.admits("s-1", owner)


def test_what_is_learnt_later_replaces_what_was_known(known):
    """The last answer replaces what was known."""
    known.remember("s-1", Session("ann", SessionStatus.ACTIVE), known.ticket())
    known.remember("s-1", Session("ann", SessionStatus.ENDED), known.ticket())
    assert known.get("s-1") == Session("ann", SessionStatus.ENDED)


def test_a_quiet_session_is_not_overtaken(known):
    """Learning of a session is no event about it."""
    ticket = known.ticket()
    known.remember("s-1", Session("ann", SessionStatus.ACTIVE), ticket)
    assert not known.overtaken("s-1", ticket)
