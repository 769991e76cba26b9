"""Follows the event log for any number of followers: one reader a process, which keeps what was read last in memory.

A follower is a number (the last event it has seen) and nothing else, so a slow one costs nothing and loses nothing:
what memory no longer holds, it reads from the log. Numbers have no gaps, so a missing one means a pruned past.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from service_kit.database import again_if_stale
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
        self._unpruned = _PRUNE_EVERY
        self._read_at = float("-inf")
        self._alarm = asyncio.Event()
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to read the log in the background."""
        self._read_at = time.monotonic()
        self._reader = asyncio.create_task(self._read(), name="session event feed")

    async def stop(self) -> None:
        """End every follower's stream and stop reading."""
        self._closed = True
        self._tell()
        self._alarm.set()
        await ended(self._reader)

    def wake(self) -> None:
        """There may be something new: read now."""
        self._alarm.set()

    @property
    def sighted(self) -> bool:
        """Whether the log was read a moment ago, so that silence means that nothing happened."""
        return time.monotonic() - self._read_at < _BLIND_AFTER

    async def present(self) -> int:
        """The number of the newest event of all. Raises DatabaseUnavailable."""
        return (await self._log.history()).last

    async def follow(self, after: int) -> AsyncIterator[Told]:
        """Everything after a number, without end but for `stop` or a log that cannot be read any more.

        0 stands for the beginning. Starts with a Reset where that past is pruned or was never this log's.
        """
        history = await self._log.history()
        if after == 0:
            after = history.base
        generation, caught_up = self._history, False
        if not history.base <= after <= history.last:
            after = history.last
            yield Reset(after)
        self.wake()
        while not self._closed:
            news, behind = self._news, after < self._last
            events = await self._next(after)
            lost = events[0].number != after + 1 if events else behind
            if lost or generation != self._history:
                generation, after = self._history, await self.present()
                yield Reset(after)
            elif events:
                for event in events:
                    yield event
                after = events[-1].number
            elif not caught_up and after >= history.last:
                caught_up = True
                yield Heartbeat()
            elif not await self._wait(news):
                if not self.sighted:
                    return
                yield Heartbeat()

    async def _next(self, after: int) -> list[Event]:
        """What comes after a number: from memory, or from the log for a follower that lags behind it."""
        if after >= self._last:
            return []
        if self._recent and self._recent[0].number <= after + 1:
            start = after + 1 - self._recent[0].number
            return list(itertools.islice(self._recent, start, start + _AT_ONCE))
        return await self._log.after(after, _AT_ONCE)

    async def _wait(self, news: asyncio.Event) -> bool:
        try:
            async with asyncio.timeout(self._heartbeat):
                await news.wait()
        except TimeoutError:
            return False
        return True

    async def _read(self) -> None:
        while not self._closed:
            self._alarm.clear()
            try:
                more = await again_if_stale(self._read_once)
            except Exception as error:  # noqa: BLE001 -- without a reader no follower would ever hear anything again
                if self.sighted:
                    _log.warning("cannot read session events", error=str(error), kind=type(error).__name__)
                more = False
            if not more:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._alarm.wait(), self._poll)

    async def _read_once(self) -> bool:
        """Take in what is new; true where there may be more at once."""
        started_at = time.monotonic()
        if self._last == 0:
            self._last = await self.present()
            self._tell()
        events = await self._log.after(self._last, _AT_ONCE)
        if not events or events[0].number != self._last + 1:
            await self._check_history()
            events = []
        self._read_at = started_at
        if events:
            self._recent.extend(events)
            self._last = events[-1].number
            self._tell()
            await self._prune(len(events))
        return len(events) == _AT_ONCE

    async def _check_history(self) -> None:
        """Nothing follows what was read last: because nothing happened, or because this is another log now."""
        last = await self.present()
        if last == self._last:
            return
        following = await self._log.after(self._last, 1)
        if not following or following[0].number != self._last + 1:
            self._forget(last)

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

    async def _prune(self, new: int) -> None:
        self._unpruned += new
        if self._unpruned >= _PRUNE_EVERY:
            self._unpruned = 0
            await self._log.prune(self._kept)
