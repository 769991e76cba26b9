"""The generations of the cache: what is outdated by events, losses of the event stream and time.

`session_cache` has the theory of operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.model import SessionKey

SILENCE: Final = 15.0
"""Seconds without a sign of life after which the event stream counts as lost."""

LIFE_WITHOUT_EVENTS: Final = 30.0
"""Seconds that an entry may still be believed once the event stream is lost."""

NEVER: Final = float("inf")
_SLOTS: Final = 4096


class InvalidationClock:
    """Counts generations, and tells whether an event came after a ticket was taken, in constant space.

    `believed_from` and `recalled_from` are generation limits: what was learnt before them is no longer believed, or not
    even recalled. What was learnt before the last loss of the stream is believed until `belief_ends`, by the clock;
    after that time `end_belief` has to be called before the limits are read.

    Events name a session by its id, so a scoped key stands where its id does. Keys share slots: an answer may be
    dropped for an event about another key, which costs one more question and never a wrong answer.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.generation = 0
        self.believed_from = self.recalled_from = 0
        self.belief_ends = NEVER
        self.lost_at: float | None = None
        self._clock = clock
        self._lost_generation = 0
        self._everything = 0
        self._slots = [0] * _SLOTS

    def __str__(self) -> str:
        now = self._clock()
        stream = "up" if self.lost_at is None else f"lost for {now - self.lost_at:.1f} s"
        ends = "" if self.belief_ends == NEVER else f", belief ends in {max(0.0, self.belief_ends - now):.1f} s"
        return f"event stream {stream}{ends}, generation {self.generation}"

    def ticket(self) -> int:
        """Give the generation of now."""
        self._end_belief_in_time()
        return self.generation

    def touch(self, key: SessionKey) -> None:
        """Note an event about a session."""
        self._slots[_slot(key)] = self._advance()

    def told(self, key: SessionKey, ticket: int) -> bool:
        """Whether an event that may be about `key` came after `ticket`."""
        return self._slots[_slot(key)] > ticket

    def happened(self, key: SessionKey, ticket: int) -> bool:
        """Whether an event about `key` came after `ticket`, or may have been missed."""
        self._end_belief_in_time()
        return self._everything > ticket or self.told(key, ticket)

    def forget_all(self) -> None:
        """Outdate everything: the past that the follower asked for is no longer kept."""
        self._everything = self.believed_from = self.recalled_from = self._advance()

    def stream_up(self) -> None:
        """Note that events arrive again, from where they were lost."""
        self._end_belief_in_time()
        self._everything = self._advance()
        self.lost_at = None
        self.belief_ends = self._clock() + SILENCE + LIFE_WITHOUT_EVENTS

    def alive(self, told_until: float) -> None:
        """Note a sign of life: the stream is up, and everything that happened until then, by the clock, has arrived."""
        self._end_belief_in_time()
        if self.lost_at is None:
            self.belief_ends = told_until + SILENCE + LIFE_WITHOUT_EVENTS

    def stream_down(self) -> None:
        """Note that events may be missed from now on; saying so twice lengthens nothing."""
        if self.lost_at is None:
            self._lose(self._clock())

    def end_belief(self) -> None:
        """End the belief in what was learnt before the stream was lost, and in answers that are still under way."""
        if self.lost_at is None:
            # Nothing noted a loss: this process was stopped, or the machine suspended, while the stream fell silent.
            self._lose(self.belief_ends - LIFE_WITHOUT_EVENTS)
        self._everything = self._advance()
        self.believed_from = max(self.believed_from, self._lost_generation)
        self.belief_ends = NEVER

    def _end_belief_in_time(self) -> None:
        if self._clock() >= self.belief_ends:
            self.end_belief()

    def grace_ends(self, lost_at: float) -> float:
        """Give the time until which an entry that is learnt now may be believed, the stream being lost."""
        now, ends = self._clock(), lost_at + LIFE_WITHOUT_EVENTS
        return ends if now < ends else now + LIFE_WITHOUT_EVENTS

    def _advance(self) -> int:
        """Begin a new generation, later than everything so far."""
        self.generation += 1
        return self.generation

    def _lose(self, at: float) -> None:
        self._lost_generation = self._advance()
        self.lost_at = at
        self.belief_ends = min(self.belief_ends, at + LIFE_WITHOUT_EVENTS)


def _slot(key: SessionKey) -> int:
    return hash(key if isinstance(key, str) else key[-1]) % _SLOTS
