"""A bounded pool of connections to one origin; callers that wait get one in the order in which they came.

`take` answers at once and serves both the fast path and the application; `acquire` may connect or wait. A borrower
gives its connection back by letting the response end, or by aborting it; it releases nothing by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections import deque
from time import monotonic
from typing import Final

from sidecar.http.client.connection import ConnectionOwner, UpstreamConnection
from sidecar.http.client.origin import Origin
from sidecar.http.client.response import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    NoFreeConnection,
    ResponseTimeout,
)

LEAST_PLACES_TO_WAIT: Final = 1024
_COARSEST_SWEEP: Final = 0.5


class Pool(ConnectionOwner):
    """At most `connections` ordinary connections to `origin`. All times are in seconds.

    `idle` is how long a connection may lie unused, `connect_timeout` also bounds the wait for a free connection,
    `response_timeout` is what an upstream has to begin its answer (None: for ever). `places` is how many requests may
    wait for a connection, by default a multiple of `connections`.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        connections: int = 256,
        idle: float = 4.0,
        connect_timeout: float = 5.0,
        response_timeout: float | None = 60.0,
        tls: ssl.SSLContext | None = None,
        places: int | None = None,
    ) -> None:
        super().__init__(origin, math.inf if response_timeout is None else response_timeout)
        self.idle = idle
        self._limit = connections
        self._places = max(LEAST_PLACES_TO_WAIT, 4 * connections) if places is None else places
        self._connect_timeout = connect_timeout
        self._tls = (tls or ssl.create_default_context()) if origin.tls else None
        self._sweeper: asyncio.TimerHandle | None = None
        self._count = 0
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts().items())
        return f"<Pool to {self.origin}: {counts}; at most {self._limit}>"

    def take(self) -> UpstreamConnection | None:
        """Give a connection that is open and unused, or None; never ahead of a request that waits for one."""
        if not self._idle:
            return None
        oldest = monotonic() - self.idle
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and _is_usable(connection):
                return connection
            connection.abort()
        return None

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """Give a connection: an unused one (unless `fresh`), a new one, or the first that comes free.

        Raises NoFreeConnection, ConnectFailed or ConnectTimeout.
        """
        if fresh:
            self._make_room()
        elif (connection := self.take()) is not None:
            return connection
        if self._count < self._limit and not self._waiting:
            self._count += 1
        elif (handed := await self._wait_for_turn()) is not None:
            if not fresh and _is_usable(handed):
                return handed
            handed.abort()
            return await self.acquire(fresh=fresh)
        return await self._connect()

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose response has ended or that was not used, or hand it to the first that waits."""
        if not connection.counted:
            # One that closed since it was lent does not count again: nothing would take it off the count.
            if self._count >= self._limit or connection.transport.is_closing():
                connection.abort()
                return
            connection.counted = True
            self._count += 1
        if not (self._waiting and self._hand_on(connection)):
            self._idle.append(connection)

    def uncount(self, connection: UpstreamConnection) -> None:
        """Let a connection leave the count: it carries an event stream or a tunnel now."""
        if connection.counted:
            connection.counted = False
            self._count -= 1
            self._invite()

    def discard(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is closed or will be; its place goes to the request that has waited longest."""
        if connection in self._open:
            self._open.discard(connection)
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
            self.uncount(connection)

    def counts(self) -> dict[str, int]:
        """Connections that are `idle`, `active` (connecting too) and `streaming`, and requests that are `waiting`."""
        idle = len(self._idle)
        streaming = sum(not connection.counted for connection in self._open)
        waiting = sum(not place.done() for place in self._waiting)
        return {"idle": idle, "active": self._count - idle, "streaming": streaming, "waiting": waiting}

    async def close(self) -> None:
        """Close every connection, and fail each receiver that waits for a response."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        # Before any connection closes: its place would go to the first that waits, which would open a new one.
        for place in self._waiting:
            if not place.done():
                place.set_exception(NoFreeConnection("shutting down"))
        self._waiting.clear()
        for connection in list(self._open):
            connection.fail(ConnectionLost("the connection was closed"))
        # Transports close in the next turn of the loop.
        await asyncio.sleep(0)

    async def _wait_for_turn(self) -> UpstreamConnection | None:
        if len(self._waiting) >= self._places:
            raise NoFreeConnection("too many requests wait for a connection to the upstream")
        place: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await place
        except TimeoutError:
            self._pass_on(place)
            raise NoFreeConnection("no connection to the upstream came free in time") from None
        except asyncio.CancelledError:
            self._pass_on(place)
            raise

    def _pass_on(self, place: asyncio.Future[UpstreamConnection | None]) -> None:
        """Give up a place; what was handed over at the last moment goes to the next in the queue."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(place)
        if place.done() and not place.cancelled() and place.exception() is None:
            connection = place.result()
            if connection is not None:
                self.release(connection)
            else:
                self._count -= 1
                self._invite()

    async def _connect(self) -> UpstreamConnection:
        """Open a connection in a place that has been counted already."""
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._give_back_place)
            try:
                async with asyncio.timeout(self._connect_timeout):
                    connection = await self._open_connection()
            except TimeoutError:
                raise ConnectTimeout("the upstream did not accept the connection in time") from None
            except (OSError, UnicodeError) as error:
                # The resolver raises UnicodeError for what is no name, such as one with an empty label.
                why = getattr(error, "strerror", None) or error
                raise ConnectFailed(f"the upstream cannot be reached: {why}") from error
            on_failure.pop_all()
        self._open.add(connection)
        if self._sweeper is None:
            self._sweep()
        return connection

    async def _open_connection(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        origin = self.origin
        if origin.unix is not None:
            _, connection = await loop.create_unix_connection(lambda: UpstreamConnection(self), origin.unix)
        else:
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(self), origin.host, origin.port, ssl=self._tls
            )
        return connection

    def _give_back_place(self) -> None:
        self._count -= 1
        self._invite()

    def _make_room(self) -> None:
        """Close an unused connection where a new one would be one too many."""
        if self._count >= self._limit and self._idle:
            self._idle.pop(0).abort()

    def _hand_on(self, connection: UpstreamConnection) -> bool:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return True
        return False

    def _invite(self) -> None:
        """Let the first in the queue connect, where a place came free."""
        while self._waiting and self._count < self._limit:
            place = self._waiting.popleft()
            if not place.done():
                self._count += 1
                place.set_result(None)

    def _sweep(self) -> None:
        """Close what lay idle too long and fail what is overdue: one timer for all connections, while there are any."""
        now = monotonic()
        for connection in [each for each in self._idle if each.idle_since <= now - self.idle]:
            connection.abort()
        for connection in [each for each in self._open if each.deadline is not None and each.deadline <= now]:
            connection.fail(ResponseTimeout("the upstream did not answer in time"))
        if not self._open:
            self._sweeper = None
            return
        pause = min(_COARSEST_SWEEP, max(min(self.idle, self.response_timeout) / 4, 0.01))
        self._sweeper = asyncio.get_running_loop().call_later(pause, self._sweep)


def _is_usable(connection: UpstreamConnection) -> bool:
    """Whether a request can be sent on the connection: it is open, and nothing has arrived on it."""
    return not connection.transport.is_closing() and not connection.arrivals.poll(0)
