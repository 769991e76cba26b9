"""Running an ASGI application on one address until a signal: ready is said when it is true, and stopping is bounded.

SIGTERM, SIGINT or SIGHUP ends the process in order with exit code 0; a second SIGTERM or SIGINT ends it at once with 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Final

import click
import uvicorn
from starlette.types import ASGIApp

from service_kit.process.address import Address, bound_address, listening
from service_kit.process.collector import collect_seldom, leave_out_what_lives
from service_kit.process.signals import STOPS, hangups

Hook = Callable[[], Awaitable[None]]

ENDLESS: Final = "service_kit.endless"
"""A key that an application sets in the scope of an event stream, which its `on_stopping` ends."""

_HOOK_WAIT: Final = 5.0
_STREAM_WAIT: Final = 2.0
_IDLE_CONNECTION: Final = 75


def serve(
    app: ASGIApp,
    listen: Address,
    role: str,
    *,
    on_started: Hook | None = None,
    on_stopping: Hook | None = None,
    drain: float = 30.0,
) -> int:
    """Serve until told to stop, and give the exit code: 0 after an orderly stop, 1 where the address is taken.

    `on_started` runs once connections are accepted; `on_stopping` first thing when asked to stop, and must end
    streams that would never end by themselves. What is in flight then has `drain` seconds.
    """
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(listening(listen))
        except OSError as error:
            click.echo(f"{role}: {error}", err=True)
            return 1
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_CONNECTION,
            timeout_graceful_shutdown=max(1, round(drain)),
        )
        server = _Server(config, f"ready role={role} listen={bound_address(listener)}", on_started, on_stopping)
        runner = stack.enter_context(asyncio.Runner(loop_factory=config.get_loop_factory()))
        try:
            runner.run(server.serve(sockets=[listener]))
        except SystemExit:  # uvicorn's word for an application that failed to start, and said why
            return 1
    return 0


class _Server(uvicorn.Server):
    """uvicorn, but for how it announces itself and how it ends."""

    def __init__(self, config: uvicorn.Config, ready: str, started: Hook | None, stopping: Hook | None) -> None:
        super().__init__(config)
        self._ready = ready
        self._on_started = started
        self._on_stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_started is not None:
            await self._on_started()
        # Collections took a seventh of the time of a `PUT` of a session.
        collect_seldom()
        leave_out_what_lives()
        click.echo(self._ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._on_stopping is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._on_stopping(), _HOOK_WAIT)
        cutting = asyncio.get_running_loop().call_later(_STREAM_WAIT, self._cut_streams_off)
        await super().shutdown(sockets)
        cutting.cancel()

    def _cut_streams_off(self) -> None:
        """Abort event streams whose clients do not read: the end waits behind all that they were not told yet."""
        for connection in list(self.server_state.connections):
            scope = getattr(connection, "scope", None)  # None before the first request
            if scope is not None and ENDLESS in scope:
                connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal anew at the end: a stop that was asked for is a success."""
        before = {number: signal.signal(number, self.handle_exit) for number in (*STOPS, *hangups())}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- uvicorn's signature
        if self.should_exit and sig != signal.SIGHUP:
            sys.stdout.flush()
            os._exit(1)
        self.should_exit = True
