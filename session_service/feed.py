"""Follows the event log for any number of followers: one reader a process, which keeps what was read last in memory.

A follower is a number (the last event it has seen) and nothing else, so a slow one costs nothing and loses nothing:
what memory no longer holds, it reads from the log. Numbers have no gaps, so a missing one means a pruned past. What
this process has committed itself is not read back, as long as it follows what was read last.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from session_service.background import ended
from session_service.events import EventLog
from session_service.model import Event

POLL: Final = 0.25
HEARTBEAT: Final = 2.5
KEPT: Final = 100_000
_REMEMBERED: Final = 10_000
_AT_ONCE: Final = 1_000
_PRUNE_EVERY: Final = 5_000
_BLIND_AFTER: Final = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened, and that is known: the log was read a moment ago."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The past that was asked for is not kept; what follows comes after `number`."""

    number: int


Told: TypeAlias = Event | Heartbeat | Reset


class Feed:
    """Tells followers of every event, in order, as soon as it is committed, whichever process wrote it."""

    def __init__(self, log: EventLog, *, poll: float = POLL, heartbeat: float = HEARTBEAT, kept: int = KEPT) -> None:
        """`poll` and `heartbeat` are seconds; `kept` is how many events the log holds at least."""
        self._log = log
        self._poll = poll
        self._heartbeat = heartbeat
        self._kept = kept
        self._recent: deque[Event] = deque(maxlen=_REMEMBERED)
        self._last = 0
        self._history = 0
        self._unpruned = _PRUNE_EVERY - 1  # the first event has the log pruned
        self._read_at = float("-inf")
        self._alarm = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Begin to read the log in the background."""
        self._read_at = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._read(), name="session event feed"),
            asyncio.create_task(self._beat(), name="session event heartbeat"),
        ]

    async def stop(self) -> None:
        """End every follower's stream and stop reading."""
        self._stopping.set()
        self._tell()
        self._alarm.set()
        for task in self._tasks:
            await ended(task)

    def wake(self) -> None:
        """There may be something new: read now."""
        self._alarm.set()

    def take(self, events: Sequence[Event]) -> None:
        """Tell what this process has committed; the log is read where that does not follow the newest known event."""
        if not events:
            return
        if self._last == 0 or events[0].number != self._last + 1:
            self.wake()
            return
        self._take_in(events)
        if self._unpruned >= _PRUNE_EVERY:
            self.wake()

    @property
    def sighted(self) -> bool:
        """Whether the log was read a moment ago, so that silence means that nothing happened."""
        return time.monotonic() - self._read_at < _BLIND_AFTER

    async def present(self) -> int:
        """The number of the newest event of all. Raises DatabaseUnavailable."""
        return (await self._log.history()).last

    async def follow(self, after: int) -> AsyncIterator[Sequence[Told]]:
        """Everything after a number, some at a time, without end but for `stop` or a log that cannot be read any more.

        0 stands for the beginning. Starts with a Reset where that past is pruned or was never this log's.
        """
        history = await self._log.history()
        if after == 0:
            after = history.base
        generation, caught_up, waited = self._history, False, False
        if not history.base <= after <= history.last:
            after = history.last
            yield [Reset(after)]
        self.wake()
        while not self._stopping.is_set():
            news, behind = self._news, after < self._last
            events = await self._next(after)
            lost = events[0].number != after + 1 if events else behind
            if lost or generation != self._history:
                generation, after = self._history, await self.present()
                yield [Reset(after)]
            elif events:
                yield events
                after = events[-1].number
            elif waited and not self.sighted:
                return
            elif waited or (not caught_up and after >= history.last):
                caught_up = True
                yield [Heartbeat()]
            else:
                await news.wait()
                waited = True
                continue
            waited = False

    async def _next(self, after: int) -> list[Event]:
        """What comes after a number: from memory, or from the log for a follower that lags behind it."""
        if after >= self._last:
            return []
        if self._recent and self._recent[0].number <= after + 1:
            start = after + 1 - self._recent[0].number
            end = min(len(self._recent), start + _AT_ONCE)
            # By index, which is near for most: an iterator would pass by everything that a follower has seen.
            return [self._recent[index] for index in range(start, end)]
        return await self._log.after(after, _AT_ONCE)

    async def _beat(self) -> None:
        """Wake every follower now and then: one that has nothing to tell then gives a sign of life."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._heartbeat)
            self._tell()

    async def _read(self) -> None:
        while not self._stopping.is_set():
            self._alarm.clear()
            try:
                more = await self._read_once()
            except Exception as error:  # noqa: BLE001 -- without a reader no follower would ever get an event again
                if self.sighted:
                    _log.warning("cannot read session events", error=str(error), kind=type(error).__name__)
                more = False
            if not more:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._alarm.wait(), self._poll)

    async def _read_once(self) -> bool:
        """Take in what is new; true where there may be more at once."""
        started_at, seen = time.monotonic(), self._last
        last = await self.present()
        events = await self._log.after(seen, _AT_ONCE) if 0 < seen < last else []
        self._read_at = started_at
        if self._last != seen:
            return last > self._last  # `take` was faster, and what was read is old
        if seen == 0:
            self._last = last
            self._tell()
        elif events and events[0].number == seen + 1:
            self._take_in(events)
        elif last != seen:
            # Something else follows what was read last: this is another log now.
            self._forget(last)
        if self._unpruned >= _PRUNE_EVERY:
            self._unpruned = 0
            await self._log.prune(self._kept)
        return len(events) == _AT_ONCE

    def _take_in(self, events: Sequence[Event]) -> None:
        self._recent.extend(events)
        self._last = events[-1].number
        self._unpruned += len(events)
        self._tell()

    def _forget(self, last: int) -> None:
        """The log is not the one that was read so far."""
        self._recent.clear()
        self._last = last
        self._history += 1
        self._tell()

    def _tell(self) -> None:
        """Wake every follower; those that come later wait for the next news."""
        self._news.set()
        self._news = asyncio.Event()
