"""The upstream as forwarder and responses see it: connections, and how heads are written on the way there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sidecar.guard.permit import Permit
from sidecar.guard.ports import Telemetry
from sidecar.http.client.origin import Origin
from sidecar.http.client.pool import Pool
from sidecar.http.client.response import UpstreamError
from sidecar.http.framing import ForwardedHead, Framing, ResponseHead
from sidecar.http.headers import DECISION_HEADER, HeaderRules, IpNetwork
from sidecar.http.ports import WireHead
from sidecar.model import Grounds, Reason

_NO_ANSWER: Final = ForwardedHead(0, b"", (), Framing())


class Upstream:
    """The service at `url` (`http://`, `https://` or `unix:/path`), over a pool of connections.

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
        )
        self.rules = HeaderRules(user_header=user_header, trusted=trusted_proxies)
        self.decision_header = decision_header
        self.telemetry = telemetry
        self._last_answer: tuple[ResponseHead | None, Grounds, ForwardedHead] = (None, Grounds.PASSED, _NO_ANSWER)

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close()

    def connections(self) -> dict[str, int]:
        """How many connections are `idle`, `active` and `streaming`, and how many requests are `waiting` for one."""
        return self.pool.counts()

    def note(self, failure: UpstreamError) -> None:
        """Count a failure and log it, if it is the upstream's."""
        if failure.reason is not Reason.BODY_TIMEOUT:
            self.telemetry.upstream_failed(failure.reason, str(failure))

    def request_head(self, head: WireHead, peer: str | None) -> bytes:
        """Write the head of a request as the upstream gets it, for the client at the address `peer`."""
        written = head.upstream_fields
        if written is None:
            fields = self.rules.write_request_fields(head.raw_headers, peer=peer, upgrade=head.upgrade)
            host = b"" if head.has_host else b"Host: %b\r\n" % self.pool.origin.authority.encode("ascii")
            written = head.upstream_fields = b"%b%b\r\n" % (host, fields)
        head.upstream_head = b"%b %b HTTP/1.1\r\n%b" % (head.method.encode("ascii"), head.target, written)
        return head.upstream_head

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
