"""One request's response on its way from the upstream to the client: the only place where one becomes the other.

The fast path and the application use it alike. No task and no message is needed: each event of the upstream connection
is a call of the client's.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from sidecar.guard.permit import Permit
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.response import IDEMPOTENT, ClientGone, UpstreamError, may_repeat
from sidecar.http.client.response_reader import ResponseReceiver
from sidecar.http.client.upstream import Upstream
from sidecar.http.framing import ResponseHead
from sidecar.http.ports import ResponseClient, Served

_COPIED: Final = 16 * 1024
"""Bytes of a body that are cheaper copied behind their head than written by themselves."""


class Upgraded(Exception):
    """The upstream switched protocols instead of answering; the connection is the catcher's now."""

    def __init__(self, head: ResponseHead, transport: asyncio.Transport, first: bytes) -> None:
        super().__init__(head.status)
        self.head = head
        self.transport = transport
        self.first = first


class ProxiedResponse(ResponseReceiver, Served):
    """Passes the response that it receives on to `client`.

    `over`, where a coroutine waits for the end, is set to None when the response is complete, and otherwise to the
    failure or upgrade that came in its place. `begun` says that some of the response was passed on. `expects_continue`
    passes one 100 on.

    An idempotent request that was sent whole is sent once more on a new connection where the first was stale (RFC 9110,
    section 9.2.2), if its permit still holds.
    """

    __slots__ = (
        "_body",
        "_client",
        "_line",
        "_method",
        "_over",
        "_permit",
        "_repetition",
        "_request",
        "_upstream",
        "begun",
        "expects_continue",
    )

    def __init__(
        self,
        upstream: Upstream,
        client: ResponseClient,
        permit: Permit,
        method: str,
        over: asyncio.Future[Exception | None] | None = None,
    ) -> None:
        self._upstream = upstream
        self._client = client
        self._permit = permit
        self._method = method
        self._over = over
        self.begun = False
        self.expects_continue = False
        self._line: UpstreamConnection | None = None
        self._request = self._body = b""
        self._repetition: asyncio.Task[None] | None = None

    def send(
        self,
        line: UpstreamConnection,
        head: bytes,
        arrived: float,
        *,
        complete: bool,
        body: bytes = b"",
        upgrade: bool = False,
    ) -> None:
        """Send the head of a request on `line`, and what is here of its body; it was here at `arrived`.

        The client follows the line already.
        """
        self._line = line
        if complete and self._method in IDEMPOTENT:
            self._request, self._body = head, body
        goes_along = len(body) <= _COPIED
        first = head + body if goes_along else head
        line.start(self, first, method=self._method, complete=complete and goes_along, upgrade=upgrade)
        self._upstream.telemetry.overhead(line.sent - arrived)
        if not goes_along:
            line.write(body)
            if complete:
                line.finish_request()

    def lose_client(self) -> None:
        """Give the exchange up: no client waits for the response."""
        self.give_up(ClientGone())

    def give_up(self, failure: Exception) -> None:
        """Give the exchange up, unless it is over."""
        if self._over is None or not self._over.done():
            self._stop()
            self._finish(failure)

    def fail(self, failure: UpstreamError) -> None:
        """Give the exchange up, unless it is over, and answer in the upstream's place or break the response off."""
        if self._over is None or not self._over.done():
            self._stop()
            self._client.fail(failure)
            self._finish(failure)

    # Calls of the upstream connection: ResponseReceiver

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on, but a 100 only where it is waited for."""
        if head.status == 100:
            if not self.expects_continue:
                return
            self.expects_continue = False
        self._client.inform(head.status, head.reason, self._upstream.rules.response_fields(head.headers))

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """Pass a whole response on; its connection lies idle already."""
        line = self._line
        assert line is not None  # noqa: S101 # for the type checker: the request was sent on it
        took = line.idle_since - line.sent
        self.begun = True
        self._body = b""
        self._client.whole(self._upstream.answer_head(head, self._permit), body)
        # Counted once the bytes have left. The connection may serve another request by now.
        self._upstream.telemetry.upstream(took)
        if self._over is not None:
            self._finish(None)

    def head(self, head: ResponseHead) -> None:
        """Begin the response."""
        line = self._line
        assert line is not None  # noqa: S101 # for the type checker: the request was sent on it
        self._upstream.telemetry.upstream(monotonic() - line.sent)
        self.begun = True
        # It is not repeated any more, and the idle connection knows this object until its next request.
        self._body = b""
        self._client.begin(self._upstream.answer_head(head, self._permit))

    def body(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        self._client.piece(data)

    def flush(self) -> None:
        """Have what has come sent."""
        self._client.flush()

    def end(self) -> None:
        """End the response."""
        self._client.end()
        self._finish(None)

    def upgraded(self, head: ResponseHead, transport: asyncio.Transport, first: bytes) -> None:
        """Hand the connection to the coroutine that waits; without one no upgrade was asked for."""
        if self._over is None or self._over.done():
            transport.abort()
        else:
            self._finish(Upgraded(head, transport, first))

    def failed(self, failure: UpstreamError) -> None:
        """Repeat a request whose connection was stale; otherwise fail the response."""
        if self._request and self._repetition is None and may_repeat(self._method, failure):
            self._repetition = self._client.run_beside(self._repeat(failure))
        else:
            self._client.fail(failure)
            self._finish(failure)

    async def _repeat(self, failure: UpstreamError) -> None:
        """Send the request once more, on a new connection; where its permit lapsed meanwhile, it failed."""
        try:
            line = await self._upstream.pool.acquire(fresh=True)
        except UpstreamError as error:
            self.failed(error)
            return
        if not self._permit.still_valid():
            # Too late to begin anew: the body has been received.
            line.abort()
            self.failed(failure)
            return
        self._line = line
        self._client.follow(line)
        line.start(self, self._request, method=self._method, complete=False)
        line.write(self._body)
        line.finish_request()

    def _stop(self) -> None:
        if self._repetition is not None:
            self._repetition.cancel()
        if self._line is not None:
            self._line.abort()

    def _finish(self, outcome: Exception | None) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(outcome)
