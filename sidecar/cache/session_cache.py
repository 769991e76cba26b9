"""What was learnt of sessions, bounded in number and in age: expiry lives in the value.

Nothing here ever walks over all entries: one that is past its time is noticed when somebody asks for it, so a million
of them expire, or are forgotten, in no time at all.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from sidecar.cache.lru import ShardedLru
from sidecar.model import Session, SessionKey, SessionStatus

LIFE_WITHOUT_EVENTS: Final = 30.0
"""Seconds that an entry may still be believed once the event stream is lost."""

JITTER: Final = 0.1
"""Share of its life by which an entry may expire early, so that entries learnt together do not expire together."""

_NOTED: Final = 7
"""One admission in so many counts as a use of its entry: enough to keep what is used often, at a fraction of the cost.
A prime, so that sessions that take turns are not always missed."""

_NEVER: Final = float("inf")
_ACTIVE: Final = SessionStatus.ACTIVE.value
_ENDED: Final = SessionStatus.ENDED.value
_DELETED: Final = SessionStatus.DELETED.value

# Only strings and numbers, so that the garbage collector stops tracking an entry the first time it meets it. With an
# object of ours in it, every full collection would walk over a million entries.
_Entry: TypeAlias = tuple[str | None, str, int, float]
"""Owner, status, the era in which it was learnt, the time of its expiry."""


class InvalidationClock:
    """Tells whether an event about a key came after a ticket was taken, in constant space.

    Keys share slots: an answer may be dropped for an event about another key, which costs one more question and
    never a wrong answer.
    """

    _SLOTS: Final = 4096

    def __init__(self) -> None:
        self._now = 0
        self._everything = 0
        self._slots = [0] * self._SLOTS

    def ticket(self) -> int:
        """Take the present place in the order of events."""
        return self._now

    def touch(self, key: SessionKey) -> None:
        """Note an event about `key`."""
        self._now += 1
        self._slots[hash(key) % self._SLOTS] = self._now

    def touch_everything(self) -> None:
        """Note that events about any key may have been missed."""
        self._now += 1
        self._everything = self._now

    def happened(self, key: SessionKey, ticket: int) -> bool:
        """Whether anything about `key` came after `ticket`."""
        return self._everything > ticket or self._slots[hash(key) % self._SLOTS] > ticket


class SessionCache:
    """The `KnownSessions` port. For one event loop: every method returns at once, none is safe to call from a thread.

    `size` is the most sessions kept, `ttl` the longest life of an entry in seconds. With `followed`, an event stream
    tells of ends and deletions: until it is up, and whenever it is lost, entries live shorter. Where writes to ended
    sessions are refused, `ended_admits` is False. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        size: int,
        ttl: float,
        *,
        followed: bool = True,
        ended_admits: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self._entries: ShardedLru[SessionKey, _Entry] = ShardedLru(size)
        self._ttl = ttl
        self._clock = clock
        self._admitting = frozenset({_ACTIVE, _ENDED} if ended_admits else {_ACTIVE})
        self._events = InvalidationClock()
        # An era ends when the stream is lost and when all is forgotten. Each bound is an era: entries from before it
        # are no longer believed, or not even recalled. What was learnt before a loss is disbelieved at `_cut_at`.
        self._era = self._lost_era = 0
        self._believed_from = self._recalled_from = 0
        self._cut_at = _NEVER
        self._lost_at: float | None = None
        if followed:
            self.stream_down()

    def __len__(self) -> int:
        """How many entries are held, those past their time included."""
        return len(self._entries)

    def admits(self, key: SessionKey, user_id: str | None) -> bool:
        """Whether the session is known to take this user's writes."""
        entry = self._entries.peek(key)
        if entry is None:
            return False
        owner, status, era, expires = entry
        now = self._clock()
        if now >= self._cut_at:
            self._cut()
        if owner != user_id or status not in self._admitting or now >= expires or era < self._believed_from:
            return False
        self.hits += 1
        if not self.hits % _NOTED:
            self._entries.get(key)
        return True

    def get(self, key: SessionKey) -> Session | None:
        """Give what may be believed of the session now."""
        entry = self._entries.get(key)
        if entry is None or not self._is_believed(entry):
            self.misses += 1
            return None
        self.hits += 1
        return Session(entry[0], SessionStatus(entry[1]))

    def recall(self, key: SessionKey) -> Session | None:
        """Give what was last known, however old, unless the stream said to forget it."""
        entry = self._entries.peek(key)
        if entry is None or entry[2] < self._recalled_from:
            return None
        return Session(entry[0], SessionStatus(entry[1]))

    def ticket(self) -> int:
        """Take a ticket before asking."""
        return self._events.ticket()

    def remember(self, key: SessionKey, session: Session, ticket: int) -> bool:
        """Keep what was learnt, unless something overtook it since `ticket`; says whether it was kept."""
        if self._events.happened(key, ticket):
            return False
        self._entries.put(key, (session.owner, session.status.value, self._era, self._expiry()))
        return True

    def overtaken(self, key: SessionKey, ticket: int) -> bool:
        """Whether an event since `ticket` may have changed what was decided about the session."""
        return self._events.happened(key, ticket)

    def ended(self, key: SessionKey) -> None:
        """Note the event that the session ended."""
        self._events.touch(key)
        entry = self._entries.peek(key)
        if entry is not None and entry[1] == _ACTIVE:
            self._entries.put(key, (entry[0], _ENDED, entry[2], entry[3]))

    def deleted(self, key: SessionKey) -> None:
        """Note the event that the session was deleted. The tombstone is kept even if the session was not known."""
        self._events.touch(key)
        self._entries.put(key, (None, _DELETED, self._era, self._expiry()))

    def forget_all(self) -> None:
        """Forget everything: the past that the follower asked for is no longer kept."""
        self._events.touch_everything()
        self._era += 1
        self._believed_from = self._recalled_from = self._era

    def stream_up(self) -> None:
        """Note that events arrive again, from where they were lost."""
        if self._clock() >= self._cut_at:
            self._cut()
        self._events.touch_everything()
        self._lost_at = None
        self._cut_at = _NEVER

    def stream_down(self) -> None:
        """Note that events may be missed from now on; saying so twice lengthens nothing."""
        if self._lost_at is None:
            self._era += 1
            self._lost_era = self._era
            self._lost_at = self._clock()
            self._cut_at = self._lost_at + LIFE_WITHOUT_EVENTS

    def _is_believed(self, entry: _Entry) -> bool:
        now = self._clock()
        if now >= self._cut_at:
            self._cut()
        return now < entry[3] and entry[2] >= self._believed_from

    def _cut(self) -> None:
        """End the grace that a lost stream left to what was learnt before the loss."""
        self._believed_from = max(self._believed_from, self._lost_era)
        self._cut_at = _NEVER

    def _expiry(self) -> float:
        now = self._clock()
        expires = now + self._ttl * (1 - JITTER * random.random())  # noqa: S311 # spreads load, keeps no secret
        if self._lost_at is None:
            return expires
        grace = self._lost_at + LIFE_WITHOUT_EVENTS
        return min(expires, grace if now < grace else now + LIFE_WITHOUT_EVENTS)
