"""The forwarder: hands an admitted request on to the memory service and its answer back, byte for byte.

It never sends a request twice for one admission, but for an idempotent one on a stale connection (RFC 9110,
section 9.2.2), and never lets a cut answer look complete.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from sidecar.guard.permit import Permit
from sidecar.guard.ports import Telemetry
from sidecar.http.asgi_wire import AsgiWire, wire_of
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.pool import Origin, Pool
from sidecar.http.client.proxied_request import ProxiedRequest
from sidecar.http.client.response import ClientGone, ConnectionLost, UpstreamFailure, as_upstream_error
from sidecar.http.framing import ForwardedHead, Framing, ResponseHead
from sidecar.http.headers import DECISION_HEADER, HeaderRules, IpNetwork, encode_fields
from sidecar.http.ports import UpstreamError, UpstreamExchange, WireHead
from sidecar.model import Grounds, Headers, Reason

_NO_ANSWER: Final = ForwardedHead(0, b"", (), Framing())


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
        telemetry: Telemetry,
        connections: int = 256,
        idle: float = 4.0,
        connect_timeout: float = 5.0,
        response_timeout: float = 60.0,
        trusted_proxies: Sequence[IpNetwork] = (),
        user_header: str | None = None,
        decision_header: bool = False,
    ) -> None:
        self.pool = Pool(
            Origin.parse(url),
            connections=connections,
            idle=idle,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            answered=telemetry.upstream,
        )
        self.take = self.pool.take
        self.rules = HeaderRules(user_header=user_header, trusted=trusted_proxies)
        self.decision_header = decision_header
        self.overhead = telemetry.overhead
        self.telemetry = telemetry
        self._last_answer: tuple[ResponseHead | None, Grounds, ForwardedHead] = (None, Grounds.PASSED, _NO_ANSWER)

    @functools.cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of all connections. Asked for once: before Python 3.12 every asking is a system call."""
        return asyncio.get_running_loop()

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close()

    def connections(self) -> dict[str, int]:
        """How many connections are `idle`, `active` and `streaming`, and how many requests are `waiting` for one."""
        return self.pool.counts()

    def put_back(self, line: UpstreamExchange) -> None:
        """Give back a connection that was not needed after all."""
        assert isinstance(line, UpstreamConnection)  # noqa: S101 # for the type checker: lines come from `take`
        self.pool.put_back(line)

    def is_stale(self, failure: Exception) -> bool:
        """Whether a request failed before any byte of its answer, on a connection used before."""
        return isinstance(failure, ConnectionLost) and failure.stale

    async def connect(self, *, fresh: bool = True) -> UpstreamExchange:
        """Open a new connection, or wait until one may be opened. Raises UpstreamError.

        Unless `fresh`, one that was used before and comes free will do.
        """
        try:
            return await self.pool.acquire(fresh=fresh)
        except UpstreamFailure as failure:
            raise as_upstream_error(failure) from failure

    async def forward(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request and its answer.

        Raises PermitLapsed where the permit is no longer valid after a wait for a connection, and UpstreamError while
        nothing of the response was sent on. Returns quietly when the client has gone. Under a foreign server it raises
        sidecar.http.asgi_wire.ResponseCut where the upstream ends its response early.
        """
        wire = wire_of(scope)
        if wire is not None:
            request = ProxiedRequest(self, permit, wire, receive, send)
        else:
            bare = AsgiWire(scope, receive, send)
            request = ProxiedRequest(self, permit, bare, bare.receive, bare.send)
        try:
            await request.run()
        except ClientGone:
            return
        except (UpstreamFailure, UpstreamError) as failure:
            error = self.explain(failure)
            if not request.has_begun:
                raise error from failure
            request.break_off()

    def explain(self, failure: Exception) -> UpstreamError:
        """Say what a failure means, and take note of it if it is the upstream's."""
        error = as_upstream_error(failure)
        if error.reason is not Reason.BODY_TIMEOUT:
            self.telemetry.upstream_failed(error.reason, str(failure) or type(failure).__name__)
        return error

    def request_head(self, wire: WireHead) -> bytes:
        """Write the head of the request as the upstream gets it."""
        memo = wire.memo
        if memo.upstream_head is not None:
            return memo.upstream_head
        written = memo.upstream_fields
        if written is None:
            fields = self.rules.request_fields(
                wire.headers, peer=wire.peer, trusted=self.rules.trusts(wire.peer), upgrade=wire.upgrade
            )
            host = b"" if wire.has_host else b"Host: %b\r\n" % self.pool.origin.authority.encode("ascii")
            written = memo.upstream_fields = b"%b%b\r\n" % (host, encode_fields(fields))
        memo.upstream_head = b"%b %b HTTP/1.1\r\n%b" % (wire.method.encode("ascii"), wire.target, written)
        return memo.upstream_head

    def answer_head(self, head: ResponseHead, permit: Permit) -> ForwardedHead:
        """Give the head of an answer as the client gets it; the same object as long as both are the same."""
        last, how, passed = self._last_answer
        if head is last and permit.grounds is how:
            return passed
        fields = self.rules.response_fields(head.headers)
        if self.decision_header:
            fields.append((DECISION_HEADER, permit.grounds.value.encode("ascii")))
        if head.until_close:
            fields.append((b"Connection", b"close"))
        passed = ForwardedHead(head.status, head.reason, fields, head.framing)
        self._last_answer = head, permit.grounds, passed
        return passed

    def interim_fields(self, head: ResponseHead) -> Headers:
        """Give the fields of a 1xx answer as the client gets them."""
        return self.rules.response_fields(head.headers)
