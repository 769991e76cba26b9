"""A client connection below HTTP: flow control, deadlines, and the ways in which it ends."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from dataclasses import dataclass
from typing import Final

from sidecar.http import tunnel
from sidecar.http.flow_control import FlowControlled

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

# What is done at a deadline. Numbers, because a bound method would be made for every request.
ABORT: Final = 0
CLOSE: Final = 1
REFUSE_HEAD: Final = 2
FAIL_BODY: Final = 3


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the server waits, in seconds."""

    head: float = 10.0
    idle: float = 75.0
    body: float = 30.0
    unread: float = 75.0
    """For a client that does not read its answer."""
    linger: float = 5.0
    """For the client to close after this side did, while what it still sends is thrown away."""
    half_closed: float = 2.0
    """For the rest of an answer when the client has closed its sending side, and perhaps the other too."""
    last_call: float = 0.5
    """When stopping: for requests that are on their way on an idle connection."""


class ClientConnection(FlowControlled):
    """What every client connection can do. At most one thing is waited for at a time."""

    __slots__ = (
        "_closing",
        "_deadline",
        "_half_closed",
        "_on_deadline",
        "_patience",
        "_tunnel",
        "_unread_deadline",
        "loop",
    )

    def __init__(self, patience: Timeouts) -> None:
        super().__init__()
        self._patience = patience
        self.loop = asyncio.get_running_loop()
        self._half_closed = False
        self._closing = False
        self._tunnel: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._on_deadline: int = ABORT
        self._unread_deadline: float | None = None

    # Callbacks of the transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- a reset and an end mean the same here
        """Wait for nothing any more."""
        self._closing = True
        self._deadline = None
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client reads slower than the answer comes."""
        super().pause_writing()
        self._unread_deadline = self.loop.time() + self._patience.unread

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._unread_deadline = None

    # What others ask for

    def write(self, data: bytes) -> None:
        """Write to the client."""
        self.transport.write(data)

    def sweep(self, now: float) -> None:
        """Act on what is overdue. One timer for all connections is cheaper than one for each request."""
        unread = self._unread_deadline is not None and now >= self._unread_deadline
        if unread or ((self.reading_held or self._half_closed) and self._is_reset()):
            self.abort()
        elif self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._overdue(self._on_deadline)

    def cut(self, *, hard: bool) -> None:
        """Close in the middle of an answer. `hard` makes it a reset, which no client takes for the answer's end."""
        self._closing = True
        if not hard:
            self._close()
            return
        client = self.transport.get_extra_info("socket")
        if client is not None and client.family != socket.AF_UNIX:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def abort(self) -> None:
        """Close at once, and cut what is in flight."""
        if self._tunnel is not None:
            self._tunnel.cancel()
        else:
            self.transport.abort()

    async def tunnel(self, upstream: asyncio.Transport, first: bytes) -> None:
        """Hand the connection over to a tunnel, `first` being the upstream's first bytes; returns when it has ended."""
        self._tunnel = asyncio.current_task()
        self._deadline = None
        self.transport.write(first)
        self.release_reading()
        try:
            await tunnel.join(self.transport, upstream, half_closed=self._half_closed)
        finally:
            self.connection_lost(None)

    # Ends

    def _is_reset(self) -> bool:
        """Whether the client has broken the connection, which a transport that does not read never notices."""
        client = self.transport.get_extra_info("socket")
        if client is None or client.fileno() < 0:
            return False
        broken = select.poll()
        broken.register(client.fileno(), 0)
        return bool(broken.poll(0))

    def _close_after_answer(self, patience: float) -> None:
        """Close this side, then read what still comes: a reset could discard the answer before the client reads it."""
        self._closing = True
        self.release_reading()
        if self._half_closed or self.transport.is_closing() or not self.transport.can_write_eof():
            self._close()
        else:
            self.transport.write_eof()
            self._wait(patience, CLOSE)

    def _close(self) -> None:
        """Close when all is written, and if that never happens, anyway."""
        self._closing = True
        self.transport.close()
        self._wait(self._patience.unread, ABORT)

    def _wait(self, seconds: float, then: int) -> None:
        self._deadline = self.loop.time() + seconds
        self._on_deadline = then

    def _overdue(self, what: int) -> None:
        """Do what was to be done at the deadline that has passed."""
        if what == CLOSE:
            self._close()
        else:
            self.abort()
