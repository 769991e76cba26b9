"""The forwarder: hands an admitted request on to the memory service and its answer back, byte for byte.

It never sends a request twice for one admission, but for an idempotent one on a stale connection (RFC 9110,
section 9.2.2), and never lets a cut answer look complete. The response comes back by `proxied_response.py`; what runs
here waits until that is over.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from sidecar.guard.permit import Permit, PermitLapsed
from sidecar.http.asgi_wire import AsgiWire
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.proxied_response import ProxiedResponse, Upgraded
from sidecar.http.client.response import ClientGone, UpstreamError
from sidecar.http.client.upstream import Upstream
from sidecar.http.framing import encode_chunk
from sidecar.http.ports import WIRE, ResponseClient, Wire
from sidecar.http.response_messages import ResponseMessages
from sidecar.model import BODY_LATE


class Forwarder:
    """Forwards requests of an ASGI application to `upstream`."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._loop: asyncio.AbstractEventLoop | None = None

    async def forward(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request and its answer.

        Raises PermitLapsed where the permit is no longer valid after a wait for a connection, and UpstreamError while
        nothing of the response was sent on. Returns quietly when the client has gone. Under a foreign server it raises
        sidecar.http.asgi_wire.ResponseCut where the upstream ends its response early.
        """
        # Asked for once: before Python 3.12 every asking is a system call.
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        over: asyncio.Future[Exception | None] = loop.create_future()
        wire: Wire | None = scope.get(WIRE)
        if wire is not None:
            await ProxiedRequest(self._upstream, permit, wire, receive, send, over=over).run()
            return
        with AsgiWire(scope, receive, send) as bare:
            await ProxiedRequest(self._upstream, permit, bare, bare.receive, bare.send, over=over).run()


class ProxiedRequest:
    """One request, from its `receive` to the end of its response.

    The response goes to the client of `wire` by plain calls, or else as messages to `send`. `over` gets what it ended
    with.
    """

    def __init__(
        self,
        upstream: Upstream,
        permit: Permit,
        wire: Wire,
        receive: Receive,
        send: Send,
        *,
        over: asyncio.Future[Exception | None],
    ) -> None:
        self._wire = wire
        self._upstream = upstream
        self._permit = permit
        self._receive = receive
        self._over = over
        self._client: ResponseClient
        self._messages: ResponseMessages | None = None
        if isinstance(wire, ResponseClient) and not wire.wants_messages:
            self._client = wire
        else:
            self._client = self._messages = ResponseMessages(wire, send)
        self._response = ProxiedResponse(upstream, self._client, permit, wire.head.method, self._over)

    async def run(self) -> None:
        """Send the request, and wait until its response is over. Raises PermitLapsed and UpstreamError."""
        self._wire.response = self._response
        upload = None
        try:
            upload = await self._send_request()
            if self._messages is not None:
                await self._pass_on(self._messages)
            outcome = await self._over
            if isinstance(outcome, Upgraded):
                fields = self._upstream.rules.response_fields(outcome.head.headers, upgrade=True)
                await self._wire.tunnel(outcome.head.reason, fields, outcome.transport, outcome.first)
            elif outcome is not None:
                raise outcome
        except ClientGone:
            return
        except UpstreamError as failure:
            self._upstream.note(failure)
            if not self._response.begun:
                raise
            # Plain calls have broken the connection already.
            if self._messages is not None:
                self._wire.break_off()
        finally:
            if not self._over.done():
                self._response.lose_client()
            if upload is not None:
                upload.cancel()
                # Its own exception is not raised here: another may be on its way already.
                await asyncio.wait((upload,))

    async def _pass_on(self, messages: ResponseMessages) -> None:
        try:
            await messages.pass_on(self._over)
        except OSError:
            raise ClientGone from None

    async def _send_request(self) -> asyncio.Task[None] | None:
        """Send the head, and the body if it is there already; otherwise give the task that sends it."""
        wire = self._wire
        if wire.gone:
            raise ClientGone
        head = wire.head.upstream_head or self._upstream.request_head(wire.head, wire.peer)
        # First of all, so that nothing has been received yet should the permit lapse.
        connection = self._upstream.pool.take() or await self._wait_for_connection()
        if not wire.head.has_body:
            self._send(connection, head, b"", complete=True)
            return None
        if not wire.body_complete:
            self._response.expects_continue = wire.yield_continue()
            if self._response.expects_continue or not wire.body_arrived:
                self._send(connection, head, b"", complete=False)
                return asyncio.create_task(self._upload(connection))
        try:
            body, more = await self._piece()
        except BaseException:
            connection.pool.release(connection)
            raise
        self._send(connection, head, self._framed(body, last=not more), complete=not more)
        return asyncio.create_task(self._upload(connection)) if more else None

    async def _wait_for_connection(self) -> UpstreamConnection:
        connection = await self._upstream.pool.acquire()
        if not self._permit.still_valid():
            connection.pool.release(connection)
            raise PermitLapsed
        return connection

    def _send(self, connection: UpstreamConnection, head: bytes, body: bytes, *, complete: bool) -> None:
        if self._over.done():
            # The client left while its request waited.
            connection.pool.release(connection)
            raise ClientGone
        wire = self._wire
        self._client.follow(connection)
        self._response.send(connection, head, wire.arrived, complete=complete, body=body, upgrade=wire.head.upgrade)

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
        except ClientGone:
            self._response.lose_client()
        except UpstreamError as failure:
            self._response.fail(failure)
        except Exception as failure:  # noqa: BLE001 # of a layer that gives the body; raised by `run`
            self._response.give_up(failure)

    async def _piece(self) -> tuple[bytes, bool]:
        try:
            message = await self._receive()
        except TimeoutError:
            raise UpstreamError(BODY_LATE.reason, BODY_LATE.detail) from None
        if message["type"] != "http.request":
            raise ClientGone
        return message.get("body", b""), message.get("more_body", False)

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        return encode_chunk(body, last=last) if self._wire.head.chunked else body
