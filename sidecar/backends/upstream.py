"""The forwarder: hands an admitted request on to the memory service and its answer back, byte for byte.

It never sends a request twice for one admission, but for an idempotent one on a stale connection (RFC 9110,
section 9.2.2), and never lets a cut answer look complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

from sidecar.backends.pool import Origin, Pool
from sidecar.backends.relay import ClientGone, Relay, Upgraded
from sidecar.backends.response import (
    ConnectionLost,
    ConnectTimeout,
    NoFreeConnection,
    ResponseHead,
    ResponseTimeout,
    UpstreamFailure,
)
from sidecar.backends.upstream_connection import UpstreamConnection
from sidecar.core.headers import DECISION_HEADER, HeaderRules, IpNetwork, encode_fields
from sidecar.core.model import Admit, Reason
from sidecar.ports import WIRE, Receive, Scope, Send, Telemetry, UpstreamError, Wire

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_RETRY_AFTER: Final = 1


class Upstream:
    """A `ports.Forwarder` over a pool of connections to `url` (`http://`, `https://` or `unix:/path`).

    Times are in seconds: `idle` is how long a connection may lie unused, `connect_timeout` bounds connecting and
    waiting for a free connection, `response_timeout` runs from the last byte of a request to the first of its answer.
    `trusted_proxies` are believed when they say `X-Forwarded-*`. `decision_header` adds `X-Sidecar-Session` to answers.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 256,
        idle: float = 4.0,
        connect_timeout: float = 5.0,
        response_timeout: float = 60.0,
        trusted_proxies: Sequence[IpNetwork] = (),
        user_header: str | None = None,
        decision_header: bool = False,
        telemetry: Telemetry,
    ) -> None:
        self.pool = Pool(
            Origin.parse(url),
            connections=connections,
            idle=idle,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
        )
        self.rules = HeaderRules(user_header=user_header, trusted=trusted_proxies)
        self.decision_header = decision_header
        self.telemetry = telemetry

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close()

    def connections(self) -> dict[str, int]:
        """How many connections are `idle`, `active` and `streaming`, and how many requests are `waiting` for one."""
        return self.pool.counts()

    async def forward(self, admit: Admit, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request and its answer.

        Raises UpstreamError while nothing of the answer was sent on. Returns quietly when the client has gone.
        """
        exchange = _Exchange(self, admit, scope["extensions"][WIRE], receive, send)
        try:
            await exchange.run()
        except ClientGone:
            return
        except (UpstreamFailure, UpstreamError) as failure:
            if not exchange.answering:
                raise _as_upstream_error(failure) from failure
            exchange.wire.break_off()

    def request_head(self, wire: Wire) -> bytes:
        """Write the head of the request as the upstream gets it."""
        fields = self.rules.request_fields(
            wire.headers, peer=wire.peer, trusted=self.rules.trusts(wire.peer), upgrade=wire.upgrade
        )
        host = b"" if wire.has_host else b"Host: %b\r\n" % self.pool.origin.authority.encode("ascii")
        line = b"%b %b HTTP/1.1\r\n" % (wire.method.encode("ascii"), wire.target)
        return b"%b%b%b\r\n" % (line, host, encode_fields(fields))

    def response_fields(self, head: ResponseHead, admit: Admit) -> list[tuple[bytes, bytes]]:
        """Give the fields of the answer as the client gets them."""
        fields = self.rules.response_fields(head.headers)
        if self.decision_header:
            fields.append((DECISION_HEADER, admit.how.value.encode("ascii")))
        if head.until_close:
            fields.append((b"Connection", b"close"))
        return fields


class _Exchange:
    """One request on its way to the upstream, and its answer on the way back."""

    def __init__(self, upstream: Upstream, admit: Admit, wire: Wire, receive: Receive, send: Send) -> None:
        self.wire = wire
        self.answering = False
        self._upstream = upstream
        self._admit = admit
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._relay = Relay(self._loop, self._interim)
        self._expecting = False
        self._sent = 0.0

    async def run(self) -> None:
        """Send the request, then pass the answer on. Raises UpstreamFailure, UpstreamError or ClientGone."""
        self.wire.on_gone(self._gone)
        upload = None
        try:
            upload = await self._request()
            await self._answer()
        except Upgraded as upgraded:
            self.wire.on_gone(None)
            fields = self._upstream.rules.response_fields(upgraded.head.headers, upgrade=True)
            await self.wire.tunnel(upgraded.head.reason, fields, upgraded.transport, upgraded.first)
        finally:
            self.wire.on_gone(None)
            self._relay.close()
            if upload is not None:
                await _stop(upload)

    async def _request(self) -> asyncio.Task[None] | None:
        """Send the head, and the body if it is there already; otherwise give the task that sends it."""
        wire = self.wire
        head = self._upstream.request_head(wire)
        if not wire.has_body:
            await self._start(head, complete=True)
            return None
        self._expecting = wire.yield_continue()
        if self._expecting or not wire.body_arrived:
            await self._start(head, complete=False)
            return asyncio.create_task(self._upload())
        body, more = await self._piece()
        await self._start(head + self._framed(body, last=not more), complete=not more)
        return asyncio.create_task(self._upload()) if more else None

    async def _start(self, data: bytes, *, complete: bool) -> None:
        """Write to a connection; once more, to a new one, where a used one was stale and a repetition is harmless."""
        pool = self._upstream.pool
        self._write(pool.take() or await pool.acquire(), data, complete=complete)
        if complete and self.wire.method in IDEMPOTENT:
            try:
                await self._relay.response()
            except ConnectionLost as lost:
                if not lost.stale:
                    raise
                self._relay = Relay(self._loop, self._interim)
                self._write(await pool.acquire(fresh=True), data, complete=True)

    def _write(self, connection: UpstreamConnection, data: bytes, *, complete: bool) -> None:
        if self._relay.is_over:
            connection.pool.release(connection)
            raise ClientGone
        self._relay.connection = connection
        self._sent = time.monotonic()
        connection.start(self._relay, data, method=self.wire.method, upgrade=self.wire.upgrade, complete=complete)

    async def _upload(self) -> None:
        """Send the rest of the body as the client sends it and the upstream takes it."""
        connection = self._relay.connection
        assert connection is not None  # noqa: S101 # for the type checker: the upload starts after the request
        try:
            more = True
            while more:
                body, more = await self._piece()
                if connection.transport.is_closing():
                    return
                connection.write(self._framed(body, last=not more))
                if more:
                    await connection.drain()
            self._sent = time.monotonic()
            connection.finish_request()
        except (ClientGone, UpstreamError) as failure:
            self._relay.give_up(failure)

    async def _piece(self) -> tuple[bytes, bool]:
        try:
            message = await self._receive()
        except TimeoutError:
            raise UpstreamError(Reason.BODY_TIMEOUT, "The rest of the request body did not come in time.") from None
        if message["type"] != "http.request":
            raise ClientGone
        return message.get("body", b""), message.get("more_body", False)

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        if not self.wire.chunked:
            return body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk + b"0\r\n\r\n" if last else chunk

    async def _answer(self) -> None:
        head = await self._relay.response()
        self._upstream.telemetry.upstream(time.monotonic() - self._sent)
        fields = self._upstream.response_fields(head, self._admit)
        self.answering = True
        start = {
            "type": "http.response.start",
            "status": head.status,
            "reason": head.reason,
            "headers": fields,
            "body_follows": self._relay.has_news,
        }
        try:
            await self._send(start)
            more = True
            while more:
                body, more = await self._relay.read()
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
        except OSError:
            raise ClientGone from None

    def _interim(self, head: ResponseHead) -> None:
        if head.status == 100:
            if not self._expecting:
                return
            self._expecting = False
        self.wire.inform(head.status, head.reason, self._upstream.rules.response_fields(head.headers))

    def _gone(self) -> None:
        self._relay.give_up(ClientGone())


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _as_upstream_error(failure: UpstreamFailure | UpstreamError) -> UpstreamError:
    if isinstance(failure, UpstreamError):
        return failure
    if isinstance(failure, NoFreeConnection):
        return UpstreamError(Reason.OVERLOADED, "No connection to the memory service came free.", _RETRY_AFTER)
    if isinstance(failure, ResponseTimeout | ConnectTimeout):
        return UpstreamError(Reason.UPSTREAM_TIMEOUT, "The memory service did not answer in time.")
    return UpstreamError(
        Reason.UPSTREAM_UNAVAILABLE, "The memory service could not be reached or gave no whole answer."
    )
