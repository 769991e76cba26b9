"""A receiver that holds a response until it is read, and pauses the upstream meanwhile."""

from __future__ import annotations

import asyncio
from typing import Final

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.response_reader import ResponseReceiver
from sidecar.http.framing import ResponseHead

HIGH_WATER: Final = 128 * 1024
"""Bytes held before the upstream is no longer read."""


class ResponseBuffer(ResponseReceiver):
    """One answer on its way from a connection to a coroutine; interim ones are dropped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.connection: UpstreamConnection | None = None
        self._loop = loop
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._ended = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def response(self) -> ResponseHead:
        """Wait for the head. Raises UpstreamFailure or ClientGone."""
        while self._head is None:
            await self._wait()
        return self._head

    async def read(self) -> tuple[bytes, bool]:
        """Wait for more of the body; also says whether more will follow. Raises UpstreamFailure or ClientGone."""
        while not self._pieces and not self._ended:
            await self._wait()
        pieces, self._pieces = self._pieces, []
        self._held = 0
        if self.connection is not None:
            self.connection.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), not self._ended

    def give_up(self, failure: Exception) -> None:
        """Close the connection and fail the reader that waits. Does nothing after the end."""
        if not self._ended and self._failure is None:
            self._failure = failure
            if self.connection is not None:
                self.connection.abort()
            self._wake()

    # What the connection tells

    def interim(self, head: ResponseHead) -> None:
        """Drop a 1xx: none is waited for."""

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """Hold a whole answer."""
        self._head = head
        self._pieces.append(body)
        self.end()

    def head(self, head: ResponseHead) -> None:
        """Hold the head."""
        self._head = head

    def body(self, data: bytes) -> None:
        """Hold a piece of the body."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held > HIGH_WATER and self.connection is not None:
            self.connection.pause_reading()

    def flush(self) -> None:
        """Wake the reader."""
        self._wake()

    def end(self) -> None:
        """The response is complete, and the connection serves another request."""
        self._ended = True
        self.connection = None
        self._wake()

    def failed(self, failure: Exception) -> None:
        """There will be no more; what came before can still be read."""
        if self._failure is None:
            self._failure = failure
        self._wake()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
