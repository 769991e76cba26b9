"""Receives Postgres' notifications that another process has written session events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

from service_kit.sql.database import Database, DatabaseUnavailable
from session_service.background import ended

CHANNEL: Final = "session_events"
_AGAIN_AFTER: Final = 1.0
# The last is what the driver says when a connection ends while a statement is under way.
_BROKEN: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_log = structlog.get_logger()


class Notifications:
    """Calls `wake` for each notification of another process, over a connection that is opened anew whenever it breaks.

    A notification lost meanwhile does no harm: the follower also polls.
    """

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake
        self._listener: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._listening: bool | None = None

    def start(self) -> None:
        """Begin to listen in the background."""
        self._listener = asyncio.create_task(self._keep_listening(), name="session event notifications")

    async def stop(self) -> None:
        """Stop listening and give the connection back."""
        self._stopping.set()
        await ended(self._listener)

    async def _keep_listening(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(DatabaseUnavailable, *_BROKEN):
                await self._listen()
            self._note(listening=False)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _AGAIN_AFTER)

    async def _listen(self) -> None:
        """Listen until the connection ends or the service stops."""
        broken = asyncio.Event()
        async with self._database.reading() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.add_termination_listener(lambda _: broken.set())
            await driver.add_listener(CHANNEL, self._hear)
            self._wake()
            self._note(listening=True)
            waiting = [asyncio.create_task(event.wait()) for event in (broken, self._stopping)]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
                await connection.invalidate()

    def _hear(self, _driver: object, backend: int, _channel: str, _payload: str) -> None:
        """What this process has committed, the store tells the feed by itself."""
        if not self._database.is_served_by(backend):
            self._wake()

    def _note(self, *, listening: bool) -> None:
        """Log changes only: a database that is away for an hour is one line."""
        if listening == self._listening or self._stopping.is_set():
            return
        self._listening = listening
        if listening:
            _log.info("hearing of session events of other processes")
        else:
            _log.warning("cannot hear of session events of other processes; polling for them")
