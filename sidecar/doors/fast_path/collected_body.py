"""The body of a guarded request that is not here yet: it is held until it is whole."""

from __future__ import annotations

from sidecar.doors.body.bounded_body import BodyRefused, Lease
from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.http.ports import BodySink, Served
from sidecar.http.server.request_head import RequestHead


class CollectedBody(Served, BodySink):
    """A body in pieces, on a lease of the bytes that may be held. It serves the client connection meanwhile.

    A body for which there is no room is the application's to refuse.
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
