"""Calls to the session service over the sidecar's own connection pool, one pool for each instance."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator
from typing import Final, Self

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.origin import Origin
from sidecar.http.client.pool import Pool
from sidecar.http.client.response import ConnectionLost, UpstreamFailure, may_repeat
from sidecar.http.client.response_reader import ResponseReceiver
from sidecar.http.framing import ResponseHead
from sidecar.session_client.answers import MOST_ANSWER, Reply
from sidecar.session_client.calls import WrittenCall, origin_of

_MOST_PIECES: Final = 16
"""Pieces of a streamed answer that are held before the server is no longer read."""


class NoAnswer(Exception):
    """There is no answer, or no whole one; the message says why."""

    @classmethod
    def because_of(cls, failure: UpstreamFailure) -> Self:
        """Name a server in the message: in log lines the upstream is the memory service."""
        return cls(str(failure).replace("the upstream", "the server"))


class Transport:
    """At most `connections` ordinary connections an instance. `connect_timeout` is in seconds.

    `tls` is used for `https://`; without it a context is made for each instance, which takes a while. An idempotent
    call is repeated once where a used connection turns out to be closed. Use it in an `async with` block, or `aclose`
    it.
    """

    def __init__(
        self, *, connections: int = 100, connect_timeout: float = 60.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._connections = connections
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._pools: dict[Origin, Pool] = {}

    async def __aenter__(self) -> Self:
        """Connections are opened when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.close()

    async def call(self, call: WrittenCall, deadline: float) -> Reply:
        """Make one call; gives the whole answer, read within bounds. `deadline` is in the event loop's time.

        Raises NoAnswer where there is no whole answer, TimeoutError where there is none in time.
        """
        pool = self._pool_to(origin_of(call.base))
        try:
            try:
                return await self._call(pool, call, deadline, fresh=False)
            except ConnectionLost as lost:
                if not may_repeat(call.method, lost):
                    raise
            return await self._call(pool, call, deadline, fresh=True)
        except UpstreamFailure as failure:
            raise NoAnswer.because_of(failure) from failure

    @contextlib.asynccontextmanager
    async def stream(self, call: WrittenCall) -> AsyncIterator[tuple[ResponseHead, AsyncIterator[bytes]]]:
        """Make one call on a connection of its own; gives the head of its answer, and the body as it comes.

        The connection is closed when the block ends. Raises NoAnswer, also for what breaks off inside the block.
        """
        try:
            connection = await self._pool_to(origin_of(call.base)).acquire(fresh=True)
            answer = _StreamedAnswer(connection)
            connection.start(answer, call.encode(), method=call.method, complete=True)
            try:
                yield await answer.begin(), answer.pieces()
            finally:
                answer.leave()
        except UpstreamFailure as failure:
            raise NoAnswer.because_of(failure) from failure

    async def _call(self, pool: Pool, call: WrittenCall, deadline: float, *, fresh: bool) -> Reply:
        connection = None if fresh else pool.take()
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await pool.acquire(fresh=fresh)
        loop = asyncio.get_running_loop()
        answer = _WholeAnswer(connection, loop.create_future())
        timer = loop.call_at(deadline, answer.expire)
        connection.start(answer, call.encode(), method=call.method, complete=True)
        try:
            return await answer.reply
        finally:
            timer.cancel()
            answer.leave()

    def _pool_to(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(
                origin,
                connections=self._connections,
                connect_timeout=self._connect_timeout,
                response_timeout=None,
                tls=self._tls,
                # Each call has a deadline, and what it waits for here says nothing of the server.
                places=sys.maxsize,
            )
        return pool


class _Answer(ResponseReceiver):
    """The receiver of one answer, which a call waits for."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection: UpstreamConnection | None = connection

    def leave(self) -> None:
        """Release the connection; it is closed where the answer has not ended."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def interim(self, head: ResponseHead) -> None:
        """Wait on: the answer itself follows."""

    def flush(self) -> None:
        """Wait on: each piece is taken as it comes."""


class _StreamedAnswer(_Answer):
    """An answer that is read as it comes: its head, and the pieces of its body."""

    def __init__(self, connection: UpstreamConnection) -> None:
        super().__init__(connection)
        self._head: asyncio.Future[ResponseHead] = asyncio.get_running_loop().create_future()
        # None is the end of the body, and an exception the failure in place of it.
        self._pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    async def begin(self) -> ResponseHead:
        """Wait for the head. Raises UpstreamFailure."""
        return await self._head

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the body as it comes; what has arrived by then is one piece. Raises UpstreamFailure if it breaks off."""
        last: bytes | Exception | None = b""
        while isinstance(last, bytes):
            arrived = [await self._pieces.get()]
            while not self._pieces.empty():
                arrived.append(self._pieces.get_nowait())
            last = arrived[-1]
            if self._connection is not None:
                self._connection.release_reading()
            if data := b"".join(piece for piece in arrived if isinstance(piece, bytes)):
                yield data
        if last is not None:
            raise last

    # Calls of the connection: ResponseReceiver

    def whole(self, head: ResponseHead, body: bytes) -> None:
        self.head(head)
        self._pieces.put_nowait(body)
        self.end()

    def head(self, head: ResponseHead) -> None:
        if not self._head.done():
            self._head.set_result(head)

    def body(self, data: bytes) -> None:
        """Hold a piece of the body, and the server back where there are too many."""
        self._pieces.put_nowait(data)
        if self._pieces.qsize() > _MOST_PIECES and self._connection is not None:
            self._connection.hold_reading()

    def end(self) -> None:
        self._connection = None
        self._pieces.put_nowait(None)

    def failed(self, failure: Exception) -> None:
        self._connection = None
        if self._head.done():
            self._pieces.put_nowait(failure)
        else:
            self._head.set_exception(failure)


class _WholeAnswer(_Answer):
    """An answer that is waited for as a whole: `reply`, read within bounds."""

    def __init__(self, connection: UpstreamConnection, reply: asyncio.Future[Reply]) -> None:
        super().__init__(connection)
        self.reply = reply
        self._head: ResponseHead | None = None
        self._body = bytearray()

    def expire(self) -> None:
        if not self.reply.done():
            self.reply.set_exception(TimeoutError())

    # Calls of the connection: ResponseReceiver

    def whole(self, head: ResponseHead, body: bytes) -> None:
        self._connection = None
        if not self.reply.done():
            self.reply.set_result(Reply.of(head.status, head.headers, body if len(body) <= MOST_ANSWER else None))

    def head(self, head: ResponseHead) -> None:
        self._head = head

    def body(self, data: bytes) -> None:
        """Take a piece of the body, unless there are too many already."""
        self._body += data
        if len(self._body) > MOST_ANSWER and self._head is not None and not self.reply.done():
            self.reply.set_result(Reply.of(self._head.status, self._head.headers, None))

    def end(self) -> None:
        assert self._head is not None  # noqa: S101 # for the type checker: the head comes first
        self.whole(self._head, bytes(self._body))

    def failed(self, failure: Exception) -> None:
        self._connection = None
        if not self.reply.done():
            self.reply.set_exception(failure)
