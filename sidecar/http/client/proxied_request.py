"""One request on its way to the upstream and its answer on the way back, for the ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import Final, Protocol

from starlette.types import Receive, Send

from sidecar.guard.permit import Permit
from sidecar.guard.ports import Telemetry
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.pool import Pool
from sidecar.http.client.response import ConnectionLost
from sidecar.http.client.response_buffer import ClientGone, ResponseBuffer, Upgraded
from sidecar.http.framing import LAST_CHUNK, ForwardedHead, ResponseHead, encode_chunk
from sidecar.http.headers import HeaderRules
from sidecar.http.ports import PermitLapsed, UpstreamError, Wire, WireHead
from sidecar.model import Headers, Reason

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2."""


class UpstreamSide(Protocol):
    """What a request asks of the forwarder that it belongs to."""

    pool: Pool
    rules: HeaderRules
    telemetry: Telemetry

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that serves the request."""
        ...

    def request_head(self, wire: WireHead) -> bytes:
        """Write the head of a request as the upstream gets it."""
        ...

    def answer_head(self, head: ResponseHead, permit: Permit, /) -> ForwardedHead:
        """Give the head of a response as the client gets it."""
        ...

    def interim_fields(self, head: ResponseHead) -> Headers:
        """Give the fields of a 1xx response as the client gets them."""
        ...


class ProxiedRequest:
    """One request, from its `receive` to its `send`. `answering` says that some of the answer was sent on."""

    def __init__(
        self,
        upstream: UpstreamSide,
        permit: Permit,
        wire: Wire,
        receive: Receive,
        send: Send,
    ) -> None:
        self.wire = wire
        self.answering = False
        self._upstream = upstream
        self._permit = permit
        self._receive = receive
        self._send = send
        self._relay = ResponseBuffer(upstream.loop, self._interim)
        self._expecting = False

    async def run(self) -> None:
        """Send the request, then pass the answer on.

        Raises PermitLapsed, UpstreamFailure, UpstreamError or ClientGone.
        """
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
        # First of all, so that nothing has been received yet should the admit lapse.
        connection = self._upstream.pool.take() or await self._wait_for_connection()
        if not wire.has_body:
            await self._send_whole(connection, head)
            return None
        self._expecting = wire.yield_continue()
        if self._expecting or not wire.body_arrived:
            self._write(connection, head, complete=False)
            return asyncio.create_task(self._upload(connection))
        try:
            body, more = await self._piece()
        except BaseException:
            connection.pool.release(connection)
            raise
        data = head + (self._framed(body, last=not more) if wire.chunked else body)
        if more:
            self._write(connection, data, complete=False)
            return asyncio.create_task(self._upload(connection))
        await self._send_whole(connection, data)
        return None

    async def _wait_for_connection(self, *, fresh: bool = False) -> UpstreamConnection:
        connection = await self._upstream.pool.acquire(fresh=fresh)
        if not self._permit.still_valid():
            connection.pool.release(connection)
            raise PermitLapsed
        return connection

    async def _send_whole(self, connection: UpstreamConnection, data: bytes) -> None:
        """Write a whole request; once more, to a new connection, where it was stale and a repetition is harmless."""
        self._write(connection, data, complete=True)
        if self.wire.method not in IDEMPOTENT:
            return
        try:
            await self._relay.response()
        except ConnectionLost as lost:
            if not lost.stale:
                raise
            self._relay = ResponseBuffer(self._upstream.loop, self._interim)
            try:
                connection = await self._wait_for_connection(fresh=True)
            except PermitLapsed:
                # Too late to begin anew: the body has been received.
                raise lost from None
            self._write(connection, data, complete=True)

    def _write(self, connection: UpstreamConnection, data: bytes, *, complete: bool) -> None:
        if self._relay.is_over:
            connection.pool.release(connection)
            raise ClientGone
        self._relay.connection = connection
        self._upstream.telemetry.overhead(monotonic() - self.wire.arrived)
        connection.start(self._relay, data, method=self.wire.method, upgrade=self.wire.upgrade, complete=complete)

    async def _upload(self, connection: UpstreamConnection) -> None:
        """Send the rest of the body as the client sends it and the upstream takes it."""
        try:
            more = True
            while more:
                body, more = await self._piece()
                if connection.transport.is_closing():
                    return
                connection.write(self._framed(body, last=not more))
                if more:
                    await connection.drain()
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
        return encode_chunk(body) + LAST_CHUNK if last else encode_chunk(body)

    async def _answer(self) -> None:
        head = await self._relay.response()
        passed = self._upstream.answer_head(head, self._permit)
        self.answering = True
        start = {
            "type": "http.response.start",
            "status": passed.status,
            "reason": passed.reason,
            "headers": list(passed.headers),
            "framing": passed.framing,
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
        self.wire.inform(head.status, head.reason, self._upstream.interim_fields(head))

    def _gone(self) -> None:
        self._relay.give_up(ClientGone())


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
