"""The body of a request that no rule looks at, on its way to the upstream while the client still sends."""

from __future__ import annotations

from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.proxied_response import ProxiedResponse
from sidecar.http.client.response import UpstreamError
from sidecar.http.framing import encode_chunk
from sidecar.http.ports import BodySink
from sidecar.http.server.request_head import RequestHead
from sidecar.model import BODY_LATE


class StreamedBody(BodySink):
    """Sends each piece on as it comes. The client is not read while the upstream does not read."""

    __slots__ = ("_client", "_head", "_is_first", "_line", "_response")

    def __init__(
        self, client: ForwardingConnection, head: RequestHead, response: ProxiedResponse, line: UpstreamConnection
    ) -> None:
        self._client = client
        self._head = head
        self._response = response
        self._line = line
        self._is_first = True

    def feed(self, piece: bytes, *, complete: bool) -> None:
        """Send a piece on, and the end."""
        if self._is_first and (piece or complete):
            self._is_first = False
            self._client.look(self._head, piece)
        if self._head.chunked:
            piece = encode_chunk(piece, last=complete)
        if piece:
            self._line.write(piece)
        if complete:
            self._line.finish_request()
        elif self._line.write_paused:
            self._client.hold_reading()
            self._client.expect_body(waiting=False)
            self._client.run_beside(self._wait_for_upstream())
        else:
            self._client.expect_body(waiting=True)

    def fail_body(self, failure: Exception) -> None:
        """Give up: the rest did not come in time."""
        error = UpstreamError(BODY_LATE.reason, BODY_LATE.detail)
        error.__cause__ = failure
        self._response.fail(error)

    async def _wait_for_upstream(self) -> None:
        await self._line.drain()
        if self._client.is_fed_to(self):
            self._client.release_reading()
            self._client.expect_body(waiting=True)
