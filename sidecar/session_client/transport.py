"""httpx over our own pool: httpx's own is quadratic in waiting requests and collapses under concurrency.

One pool an origin. Cookies, redirects and proxy variables are the client's business, not a transport's. A call that is
written already goes to the pool without the objects of httpx.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Final, Self, cast

import httpx

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.origin import Origin
from sidecar.http.client.pool import Pool
from sidecar.http.client.response import (
    BadResponse,
    ClientGone,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    NoFreeConnection,
    ResponseTimeout,
    UpstreamFailure,
    may_repeat,
)
from sidecar.http.client.response_buffer import ResponseBuffer
from sidecar.http.client.response_reader import ResponseReceiver
from sidecar.http.framing import LAST_CHUNK, ResponseHead, encode_chunk
from sidecar.http.headers import encode_fields
from sidecar.session_client.answers import MOST_ANSWER, Reply
from sidecar.session_client.calls import WrittenCall

_LONGEST_CONNECT: Final = 60.0
_TRANSLATIONS: Final[dict[type[UpstreamFailure], type[httpx.TransportError]]] = {
    ConnectFailed: httpx.ConnectError,
    ConnectTimeout: httpx.ConnectTimeout,
    NoFreeConnection: httpx.PoolTimeout,
    ConnectionLost: httpx.RemoteProtocolError,
    ResponseTimeout: httpx.ReadTimeout,
    BadResponse: httpx.RemoteProtocolError,
}


class HttpxCaller:
    """Makes calls by any httpx transport, which is not closed here."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def call(self, call: WrittenCall, deadline: float) -> Reply:
        """Give the whole answer, read within bounds. `deadline` is in the event loop's time.

        Raises httpx.HTTPError or OSError where there is no whole answer, TimeoutError where there is none in time.
        """
        async with asyncio.timeout_at(deadline):
            response = await self._transport.handle_async_request(call.request())
            # The stream itself: a response that was made with its content cannot be streamed by its own methods.
            stream = cast("httpx.AsyncByteStream", response.stream)
            body = bytearray()
            try:
                async for chunk in stream:
                    body += chunk
                    if len(body) > MOST_ANSWER:
                        break
            finally:
                await stream.aclose()
        whole = bytes(body) if len(body) <= MOST_ANSWER else None
        return Reply.of(response.status_code, response.headers.raw, whole)


class PooledTransport(httpx.AsyncBaseTransport):
    """A transport with at most `connections` ordinary connections an origin, kept unused for `idle` seconds.

    With `unix`, the path of a socket, every request goes there, and the host of its URL is not connected to. An
    idempotent request is repeated once where a used connection turns out to be closed. Raises httpx's own exceptions
    and honours the request's extensions `timeout` (connect, read; write is covered by read), `target` as httpx's own
    transport does, and `unix`, which names the socket for one request.
    """

    def __init__(
        self, *, connections: int = 100, idle: float = 4.0, unix: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._connections = connections
        self._idle = idle
        self._unix = unix
        self._tls = tls
        self._pools: dict[Origin, Pool] = {}

    async def call(self, call: WrittenCall, deadline: float) -> Reply:
        """Make one call as HttpxCaller does, without a request or response of httpx and with one thing to wait for."""
        pool = self._pool_to(_origin_of(call.base))
        data = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (call.method.encode("ascii"), call.target, call.fields, call.body)
        try:
            try:
                return await self._call(pool, call.method, data, deadline, fresh=False)
            except ConnectionLost as lost:
                if not may_repeat(call.method, lost):
                    raise
            return await self._call(pool, call.method, data, deadline, fresh=True)
        except UpstreamFailure as failure:
            raise _translation_of(failure) from failure

    async def _call(self, pool: Pool, method: str, data: bytes, deadline: float, *, fresh: bool) -> Reply:
        connection = None if fresh else pool.take()
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await pool.acquire(fresh=fresh)
        loop = asyncio.get_running_loop()
        answer = _WholeAnswer(connection, loop.create_future())
        timer = loop.call_at(deadline, answer.expire)
        connection.start(answer, data, method=method, complete=True)
        try:
            return await answer.reply
        finally:
            timer.cancel()
            answer.leave()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; gives the response as soon as its head is there."""
        timeouts = request.extensions.get("timeout", {})
        stream = request.stream
        # What is there already need not be awaited.
        body = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
        data = _encode(request, body)
        pool = self._pool(request)
        try:
            with _TRANSLATED:
                buffer, head = await self._exchange(pool, request.method, data, timeouts, fresh=False)
        except _Stale:
            with _TRANSLATED:
                buffer, head = await self._exchange(pool, request.method, data, timeouts, fresh=True)
        return httpx.Response(
            head.status,
            headers=head.headers,
            stream=_Body(buffer, timeouts.get("read")),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": head.reason},
        )

    async def aclose(self) -> None:
        """Close all connections."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.close()

    def counts(self) -> dict[str, int]:
        """How many connections of all origins are `idle`, `active` and `streaming`; how many requests `waiting`."""
        counts = [pool.counts() for pool in self._pools.values()]
        return {state: sum(each[state] for each in counts) for state in ("idle", "active", "streaming", "waiting")}

    async def _exchange(
        self, pool: Pool, method: str, data: bytes, timeouts: dict[str, float | None], *, fresh: bool
    ) -> tuple[ResponseBuffer, ResponseHead]:
        async with _within(timeouts.get("connect"), httpx.ConnectTimeout):
            connection = await pool.acquire(fresh=fresh)
        buffer = ResponseBuffer(asyncio.get_running_loop())
        buffer.connection = connection
        connection.start(buffer, data, method=method, complete=True)
        try:
            async with _within(timeouts.get("read"), httpx.ReadTimeout):
                return buffer, await buffer.response()
        except ConnectionLost as lost:
            if not fresh and may_repeat(method, lost):
                raise _Stale from lost
            raise
        except BaseException:
            buffer.give_up(ClientGone())
            raise

    def _pool(self, request: httpx.Request) -> Pool:
        url = request.url
        unix = request.extensions.get("unix", self._unix)
        if unix is not None:
            return self._pool_to(Origin("localhost", 0, unix=unix))
        tls = url.scheme == "https"
        return self._pool_to(Origin(url.host, url.port or (443 if tls else 80), tls=tls))

    def _pool_to(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(
                origin,
                connections=self._connections,
                idle=self._idle,
                connect_timeout=_LONGEST_CONNECT,
                response_timeout=None,
                tls=self._tls,
            )
        return pool


@lru_cache(maxsize=64)
def _origin_of(base: str) -> Origin:
    """The instance at `base`; there are few of them."""
    return Origin.parse(base)


class _WholeAnswer(ResponseReceiver):
    """The receiver of an answer that is waited for as a whole: `reply`, read within bounds."""

    def __init__(self, connection: UpstreamConnection, reply: asyncio.Future[Reply]) -> None:
        self.reply = reply
        self._connection: UpstreamConnection | None = connection
        self._head: ResponseHead | None = None
        self._body = bytearray()

    def leave(self) -> None:
        """Have nothing to do with the connection any more; an answer that has not ended is given up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def expire(self) -> None:
        """End the wait."""
        if not self.reply.done():
            self.reply.set_exception(TimeoutError())

    # What the connection tells

    def interim(self, head: ResponseHead) -> None:
        """Wait on: the answer itself follows."""

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """Take a whole answer."""
        self._connection = None
        if not self.reply.done():
            self.reply.set_result(Reply.of(head.status, head.headers, body if len(body) <= MOST_ANSWER else None))

    def head(self, head: ResponseHead) -> None:
        """Take the head."""
        self._head = head

    def body(self, data: bytes) -> None:
        """Take a piece of the body, unless there are too many already."""
        self._body += data
        if len(self._body) > MOST_ANSWER and self._head is not None and not self.reply.done():
            self.reply.set_result(Reply.of(self._head.status, self._head.headers, None))

    def flush(self) -> None:
        """Wait on: only the whole answer is of use."""

    def end(self) -> None:
        """Take the end."""
        assert self._head is not None  # noqa: S101 # for the type checker: the head comes first
        self.whole(self._head, bytes(self._body))

    def upgraded(self, head: ResponseHead, transport: asyncio.Transport, first: bytes) -> None:  # noqa: ARG002
        """Close the connection: no call asks for an upgrade."""
        transport.abort()
        self.failed(BadResponse("the upstream switched protocols"))

    def failed(self, failure: Exception) -> None:
        """Take the reason why there is no whole answer."""
        self._connection = None
        if not self.reply.done():
            self.reply.set_exception(failure)


class _Stale(Exception):
    """A used connection was closed before any byte of the answer, and the request may be repeated."""


class _Body(httpx.AsyncByteStream):
    """The body of a response, piece by piece as it comes."""

    def __init__(self, buffer: ResponseBuffer, read_timeout: float | None) -> None:
        self._buffer = buffer
        self._read_timeout = read_timeout
        self._more = True

    def __aiter__(self) -> Self:
        # No generator: event loops keep account of each of those, and every answer has a body.
        return self

    async def __anext__(self) -> bytes:
        piece = b""
        while self._more and not piece:
            with _TRANSLATED:
                async with _within(self._read_timeout, httpx.ReadTimeout):
                    piece, self._more = await self._buffer.read()
        if piece:
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._buffer.give_up(ClientGone())


def _translation_of(failure: UpstreamFailure) -> httpx.TransportError:
    """Say it in httpx's terms. In log lines the upstream is the memory service; the server here is another."""
    return _TRANSLATIONS[type(failure)](str(failure).replace("the upstream", "the server"))


class _Translated:
    """Raises what httpx raises in place of what the pool does."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if isinstance(failure, UpstreamFailure):
            raise _translation_of(failure) from failure


_TRANSLATED: Final = _Translated()
_UNLIMITED: Final = contextlib.nullcontext()


def _within(
    seconds: float | None, translation: type[httpx.TimeoutException]
) -> contextlib.AbstractAsyncContextManager[None]:
    """Bound a block in time, if it is to be."""
    return _UNLIMITED if seconds is None else _limited(seconds, translation)


@contextlib.asynccontextmanager
async def _limited(seconds: float, translation: type[httpx.TimeoutException]) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise translation("timed out") from error


def _encode(request: httpx.Request, body: bytes) -> bytes:
    """Write a whole request; one of unknown length as a single chunk."""
    headers = request.headers.raw
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):
        body = encode_chunk(body) + LAST_CHUNK
    target = request.extensions.get("target") or request.url.raw_path
    line = b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), target)
    return b"%b%b\r\n%b" % (line, encode_fields(headers), body)
