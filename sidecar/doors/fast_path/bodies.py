"""What becomes of a request body that is not here yet: it is held until it is whole, or streamed as it comes."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.doors.body.bounded_body import BodyRefused, Lease
from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.proxied_response import ProxiedResponse
from sidecar.http.client.response import UpstreamError
from sidecar.http.framing import encode_chunk
from sidecar.http.ports import BodySink, Served
from sidecar.http.server.request_head import RequestHead
from sidecar.model import BODY_LATE


class CollectedBody(Served, BodySink):
    """The body of a guarded request, held in pieces until it is whole, on a lease of the bytes that may be held.

    It serves the client connection meanwhile. A body for which there is no
    room is the application's to refuse.
    """

    __slots__ = ("_client", "head", "lease", "pieces")

    def __init__(self, client: ForwardingConnection, head: RequestHead, lease: Lease | None) -> None:
        self._client = client
        self.head = head
        self.lease = lease
        self.pieces: list[bytes] = []

    def feed(self, piece: bytes, *, complete: bool) -> None:
        """Hold a piece; go on when it was the last."""
        self.pieces.append(piece)
        try:
            if self.lease is not None:
                self.lease.take(len(piece))
        except BodyRefused:
            self._client.give_up()
            return
        if complete:
            self._client.collected()
        else:
            self._client.wait_for_more()

    def fail_body(self, failure: Exception) -> None:  # noqa: ARG002 # a body can only be late
        """Leave the request to the application, which waits longer."""
        self._client.give_up()

    def whole(self) -> bytes:
        """Give the body, which is here."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)

    def lose_client(self) -> None:
        """Let the pieces go."""
        if self.lease is not None:
            self.lease.close()

    def end_stream(self) -> None:
        """There is none."""


class StreamedBody(BodySink):
    """The body of a request that no rule looks at, on its way to the upstream while the client still sends.

    `look` is shown the first piece. The client is not read while the upstream does not read.
    """

    __slots__ = ("_chunked", "_client", "_line", "_look", "_response")

    def __init__(
        self,
        client: ForwardingConnection,
        response: ProxiedResponse,
        line: UpstreamConnection,
        *,
        chunked: bool,
        look: Callable[[bytes], None],
    ) -> None:
        self._client = client
        self._response = response
        self._line = line
        self._chunked = chunked
        self._look: Callable[[bytes], None] | None = look

    def feed(self, piece: bytes, *, complete: bool) -> None:
        """Send a piece on, and the end."""
        if self._look is not None and (piece or complete):
            self._look(piece)
            self._look = None
        if self._chunked:
            piece = encode_chunk(piece, last=complete)
        if piece:
            self._line.write(piece)
        if complete:
            self._client.expect_body(waiting=False)
            self._line.finish_request()
        elif self._line.writing_held:
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
