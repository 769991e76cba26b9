"""The cache of known sessions, bounded in number and in age: expiry lives in the value.

Theory of operation
-------------------

The cache keeps a counter of events, the generation. An event about a session, a loss of the event stream and its return
each take the next generation. An entry carries the generation at which it was learnt, and its expiry.

An entry *admits* a write while the cache believes it: before its expiry, and not outdated by a generation limit. The
limit rises to the generation of the loss when belief ends: `LIFE_WITHOUT_EVENTS` after a noted loss, or `SILENCE` later
than that where the stream fell silent and no loss was noted. `recall` gives an entry that is too old to admit, because
a deletion, an end and an owner are never taken back: an old entry can still refuse.

An answer of the session service may be older than an event that arrives before it. So each question takes a *ticket*,
the generation at which it began. `remember` drops an answer whose ticket is older than the last event about that
session, or than the last moment at which events about any session may have been missed.

No operation walks over all entries: a generation limit outdates a million of them at once, and an entry past its
time is noticed when a request looks for it.

What happens after an entry was learnt and a ticket was taken:

    what happens                      admits  recalled  answer
    --------------------------------  ------  --------  -------
    nothing                           yes     yes       kept
    its session ends                  yes     yes       dropped
    its session is deleted            no      yes       dropped
    another session is deleted        yes     yes       kept
    the entry expires                 no      yes       kept
    the stream is lost                yes     yes       kept
    the stream is lost for 30 s       no      yes       dropped
    the stream is lost and returns    yes     yes       dropped
    the stream is silent for 45 s     no      yes       dropped
    the service forgot its events     no      no        dropped

Whether an ended session admits is a policy (`ended_admits`); the table shows the default.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias, cast, final

from sidecar.cache.clock import elapsed
from sidecar.cache.invalidation import NEVER, InvalidationClock
from sidecar.cache.lru import ShardedLru
from sidecar.model import Session, SessionKey, SessionStatus

JITTER: Final = 0.1
"""Share of its life by which an entry may expire early, so that entries learnt together do not expire together."""

_STEPS: Final = 1024
"""In how many steps the time to live is divided. Entries that expire in the same step share one number: a million
numbers of their own take 24 MB, and each lies in no cache of the processor when it is read."""

_NOTED: Final = 7
"""One admission in so many counts as a use of its entry: enough to keep what is used often, at a fraction of the cost.
A prime, so that sessions that take turns are not always missed."""

_LAST_GENERATION: Final = 1 << 60
"""Later than every generation that is counted: nothing outdates what was learnt in it."""
_ACTIVE: Final = SessionStatus.ACTIVE.value
_ENDED: Final = SessionStatus.ENDED.value
_DELETED: Final = SessionStatus.DELETED.value

# Only strings and numbers, so that the garbage collector stops tracking an entry the first time it meets it. With an
# instance of a class in it, every full collection would walk over a million entries. The expiry is a float that many
# entries share: typed so, mypyc would make a new one for each.
_Entry: TypeAlias = tuple[str | None, str, int, object]
"""Owner, status, the generation at which it was learnt, the time of its expiry."""


@final
class SessionCache:
    """Answers of the session service about sessions, for as long as they may be believed.

    For one event loop: every method returns at once, none is safe to call from a thread.

    `size` is the most sessions kept, `ttl` the longest life of an entry in seconds. With `followed`, an event stream
    tells of ends and deletions. Then belief ends by itself, `SILENCE` and `LIFE_WITHOUT_EVENTS` after the stream's last
    sign of life, and a noted loss ends it `LIFE_WITHOUT_EVENTS` later where that is earlier. Where writes to ended
    sessions are refused, `ended_admits` is False. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        size: int,
        ttl: float,
        *,
        followed: bool = True,
        ended_admits: bool = True,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self._size = size
        self._entries: ShardedLru[SessionKey, _Entry] = ShardedLru(size)
        self._ttl = ttl
        self._clock = clock
        self._admitting = frozenset({_ACTIVE, _ENDED} if ended_admits else {_ACTIVE})
        self._invalidation = InvalidationClock(clock)
        if followed:
            self.stream_down()

    def __repr__(self) -> str:
        return (
            f"<SessionCache {len(self)} of {self._size} entries, ttl {self._ttl:g} s, {self._invalidation}, "
            f"{self.hits} hits, {self.misses} misses>"
        )

    def __len__(self) -> int:
        """How many entries are held, those past their time included."""
        return len(self._entries)

    def admits(self, key: SessionKey, user_id: str | None) -> bool:
        """Whether the session is known to take this user's writes: one look-up, for the fast path."""
        entry = self._entries.peek(key)
        if entry is None or entry[0] != user_id or entry[1] not in self._admitting or not self._is_believed(key, entry):
            return False
        self.hits += 1
        if not self.hits % _NOTED:
            self._entries.get(key)
        return True

    def get(self, key: SessionKey) -> Session | None:
        """Give what may be believed of the session now; a tombstone has the status `DELETED`."""
        entry = self._entries.get(key)
        if entry is None or not self._is_believed(key, entry):
            self.misses += 1
            return None
        self.hits += 1
        return Session(entry[0], SessionStatus(entry[1]))

    def recall(self, key: SessionKey) -> Session | None:
        """Give what was last known, however old, unless the stream said to forget it: it can still refuse."""
        entry = self._entries.peek(key)
        if not isinstance(key, str):
            # The event of a deletion names the id alone, and its tombstone stands for the session in every scope, but
            # for one of which the session service has said more since.
            buried = self._entries.peek(key[-1])
            if buried is not None and buried[1] == _DELETED and (entry is None or entry[2] < buried[2]):
                entry = buried
        if entry is None or entry[2] < self._invalidation.recalled_from:
            return None
        return Session(entry[0], SessionStatus(entry[1]))

    def peek(self, key: SessionKey) -> Session | None:
        """Give what `get` gives; counts neither as a use nor as a hit or miss."""
        entry = self._entries.peek(key)
        if entry is None or not self._is_believed(key, entry):
            return None
        return Session(entry[0], SessionStatus(entry[1]))

    def ticket(self) -> int:
        """Take a ticket before a decision, to be shown when it may have been overtaken."""
        return self._invalidation.ticket()

    def ticket_to_ask(self, key: SessionKey) -> int | None:
        """Take a ticket for `remember`; None where the session is known to be deleted, and must not be asked about."""
        entry = self._entries.peek(key)
        if entry is not None and entry[1] == _DELETED and self._is_believed(key, entry):
            return None
        return self.ticket()

    def remember(self, key: SessionKey, session: Session, ticket: int) -> bool:
        """Keep the answer, unless an event overtook it since `ticket`: then it is dropped, and False returned.

        The tombstone of a deletion that went through this process stays as it is.
        """
        if self.overtaken(key, ticket):
            return False
        self._keep(key, session.owner, session.status.value)
        return True

    def overtaken(self, key: SessionKey, ticket: int) -> bool:
        """Whether an event since `ticket` may have changed what was decided about the session."""
        return self._invalidation.happened(key, ticket)

    def ended(self, session_id: str) -> None:
        """Note the event that the session ended."""
        self._invalidation.touch(session_id)
        entry = self._entries.peek(session_id)
        if entry is not None and entry[1] == _ACTIVE:
            self._entries.put(session_id, (entry[0], _ENDED, entry[2], entry[3]))

    def deleted(self, session_id: str) -> None:
        """Note the event that the session was deleted. The tombstone is kept even if the session was not known."""
        self._invalidation.touch(session_id)
        self._keep(session_id, None, _DELETED)

    def bury(self, key: SessionKey) -> None:
        """Note a deletion that went through this process. The tombstone stays for as long as there is room for it.

        No event outdates it: the session service has left no trace of the session, and would be asked to create it.
        """
        self._invalidation.touch(key)
        self._entries.put(key, (None, _DELETED, _LAST_GENERATION, NEVER))

    def forget(self, key: SessionKey) -> None:
        """Forget one session, and drop what is being learnt of it."""
        self._invalidation.touch(key)
        self._entries.discard(key)

    def forget_all(self) -> None:
        """Forget everything: the past that the follower asked for is no longer kept."""
        self._invalidation.forget_all()

    def stream_up(self) -> None:
        """Note that events arrive again, from where they were lost."""
        self._invalidation.stream_up()

    def alive(self, told_until: float) -> None:
        """Note a sign of life: the stream is up, and everything that happened until then, by the clock, has arrived."""
        self._invalidation.alive(told_until)

    def stream_down(self) -> None:
        """Note that events may be missed from now on; saying so twice lengthens nothing."""
        self._invalidation.stream_down()

    def _is_believed(self, key: SessionKey, entry: _Entry) -> bool:
        now = self._clock()
        invalidation = self._invalidation
        if now >= invalidation.belief_ends:
            invalidation.end_belief()
        if now >= cast("float", entry[3]) or entry[2] < invalidation.believed_from:
            return False
        # An event changes the entry of the id that it names; entries under scoped keys it only outdates.
        return isinstance(key, str) or not invalidation.told(key, entry[2])

    def _keep(self, key: SessionKey, owner: str | None, status: str) -> None:
        """Keep what was learnt now, but no tombstone in place of one that does not expire."""
        if status == _DELETED and (entry := self._entries.peek(key)) is not None and entry[3] == NEVER:
            return
        now = self._clock()
        step = self._ttl / _STEPS
        spread = (self._ttl * JITTER - step) * random.random()  # noqa: S311 # spreads load, keeps no secret
        expires = _end_of_step(math.floor((now + self._ttl * (1 - JITTER) + spread) / step), step)
        if self._invalidation.lost_at is not None:
            expires = min(cast("float", expires), self._invalidation.grace_ends(self._invalidation.lost_at))
        self._entries.put(key, (owner, status, self._invalidation.generation, expires))


@lru_cache(maxsize=2 * _STEPS)
def _end_of_step(number: int, step: float) -> object:
    """Give the time at which a step ends: the same object for every entry that expires then."""
    return (number + 1) * step
