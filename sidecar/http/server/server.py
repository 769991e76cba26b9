"""Runs the application behind hardened connections until it is asked to stop, and then stops in order.

The order: unready, event streams and tunnels ended, everything whose head was read answered, connections closed. A
second request to stop ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from service_kit.process.address import bound_address
from service_kit.process.signals import STOPS, hangups
from sidecar.http.server.connection import Timeouts
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.serving import Shared

if TYPE_CHECKING:
    from sidecar.http.server.hosting import Hosting

_BACKLOG: Final = 2048
"""So many connections wait to be accepted at most; the kernel may allow fewer (net.core.somaxconn)."""

_SWEEP: Final = 0.25
_POLL: Final = 0.02

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def _nothing() -> None:
    """Stand in for a callback that was not given."""


class StartFailed(Exception):
    """A hosted application failed to start. Its traceback is logged."""


class Server:
    """Serves `app` on `listener`, which it closes. `drain_timeout` is in seconds.

    `connect` makes what serves a connection from what all of them share. `on_ready` is called when connections are
    accepted, `on_drain` as soon as it was asked to stop. Without `handle_signals` only `stop` stops it. `hosting` gives
    the application its lifespan and WebSockets; `connect` makes a HostingProtocol then.
    """

    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        *,
        drain_timeout: float = 30.0,
        patience: Timeouts | None = None,
        connect: Callable[[Shared], HardenedProtocol] = HardenedProtocol,
        on_ready: Callable[[], None] = _nothing,
        on_drain: Callable[[], None] = _nothing,
        handle_signals: bool = True,
        hosting: Hosting | None = None,
    ) -> None:
        self.shared = Shared(app, patience or Timeouts())
        self._connect = connect
        self._hosting = hosting
        self._listener = listener
        self._drain_timeout = drain_timeout
        self._on_ready = on_ready
        self._on_drain = on_drain
        self._handle_signals = handle_signals
        self._stop = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None

    def responses(self) -> dict[str, float]:
        """How many responses were given, by the class of their status code: `2xx` and so on."""
        counts = enumerate(self.shared.responses)
        return {f"{digit}xx": float(count) for digit, count in counts if 1 <= digit <= 5 or count}

    async def run_until_stopped(self) -> int:
        """Serve until SIGINT, SIGTERM, SIGHUP or `stop`; gives the exit code: 0, or 1 if it had to end at once.

        A hosted application that has not started by then is not waited for. Raises StartFailed where it fails to start,
        and OSError where no connection can be accepted.
        """
        with self._stopped_by_signals():
            if self._hosting is not None:
                has_started = await _unless(self._stop, self._hosting.start())
                if has_started is None:
                    return self._exit_code
                if not has_started:
                    raise StartFailed
            loop = asyncio.get_running_loop()
            try:
                accepting = await loop.create_server(
                    lambda: self._connect(self.shared), sock=self._listener, backlog=_BACKLOG
                )
            except OSError as error:
                address = bound_address(self._listener)
                raise OSError(f"cannot accept connections on {address}: {error.strerror or error}") from error
            self._sweep()
            self._on_ready()
            await self._stop.wait()
            await self._shut_down(accepting)
        return self._exit_code

    @property
    def _exit_code(self) -> int:
        return 1 if self._stop_at_once.is_set() else 0

    def stop(self) -> None:
        """Stop in order; asked a second time, at once."""
        if self._stop.is_set():
            self._stop_at_once.set()
        self._stop.set()

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Stop on the signals that ask for it, if this server is to."""
        if not self._handle_signals:
            yield
            return
        loop = asyncio.get_running_loop()
        handlers = dict.fromkeys(STOPS, self.stop) | dict.fromkeys(hangups(), self._stop.set)
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    async def _shut_down(self, accepting: asyncio.Server) -> None:
        """Stop in order, within the drain timeout, or at once when asked again."""
        self._on_drain()
        self.shared.draining = True
        drained = asyncio.create_task(self._drain(accepting))
        hurried = asyncio.create_task(self._stop_at_once.wait())
        await asyncio.wait({drained, hurried}, timeout=self._drain_timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._is_serving:
            logger.warning("stopping with %d connections still open", len(self.shared.connections))
        for task in (drained, hurried):
            task.cancel()
        await self._abandon(accepting)
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._hosting is not None:
            await _unless(self._stop_at_once, self._hosting.stop())

    @property
    def _is_serving(self) -> bool:
        """Whether any connection is open, or any request or WebSocket of the application is not over."""
        hosting = self._hosting is not None and self._hosting.is_serving
        return bool(self.shared.connections or self.shared.tasks or hosting)

    async def _drain(self, accepting: asyncio.Server) -> None:
        for connection in list(self.shared.connections):
            connection.drain_connection()
        if self._hosting is not None:
            self._hosting.close_websockets()
        # Clients that have connected already are accepted before the listener closes.
        await asyncio.sleep(_POLL)
        accepting.close()
        self._listener.close()
        while self._is_serving:  # noqa: ASYNC110 -- four sets, watched only when stopping
            await asyncio.sleep(_POLL)

    async def _abandon(self, accepting: asyncio.Server) -> None:
        """Leave nothing behind: no connection, no task."""
        accepting.close()
        self._listener.close()
        for connection in list(self.shared.connections):
            connection.abort()
        tasks = list(self.shared.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._hosting is not None:
            await self._hosting.abandon_websockets()
        while self.shared.connections:  # noqa: ASYNC110 -- transports close in the next turn of the loop
            await asyncio.sleep(0)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.shared.connections):
            connection.sweep(now)
        self._sweeper = loop.call_later(_SWEEP, self._sweep)


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """Give the result of `work`; None where the event came first, and then the work is broken off."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None
