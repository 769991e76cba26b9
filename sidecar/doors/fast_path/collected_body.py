"""The body of a guarded request that is not here yet: it is held until it is whole."""

from __future__ import annotations

from sidecar.doors.body.bounded_body import BodyRefused, Lease
from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.http.ports import BodySink, Served
from sidecar.http.server.request_head import RequestHead


class CollectedBody(Served, BodySink):
    """A body in pieces, on a lease of the bytes that may be held. It serves the client connection meanwhile.

    A body for which there is no room, or that comes slowly, is the application's.
    """

    __slots__ = ("_client", "_lease", "head", "pieces")

    def __init__(self, client: ForwardingConnection, head: RequestHead, lease: Lease) -> None:
        self._client = client
        self._lease = lease
        self.head = head
        self.pieces: list[bytes] = []

    def feed(self, piece: bytes, *, complete: bool) -> None:
        """Hold a piece; go on when it was the last."""
        self.pieces.append(piece)
        try:
            self._lease.take(len(piece))
        except BodyRefused:
            self._give_way()
            return
        if complete:
            self._client.serve(self.head, self._whole())
        else:
            self._client.wait_for_more()

    def fail_body(self, failure: Exception) -> None:  # noqa: ARG002 # a body can only be late
        """Leave the request to the application, which waits longer."""
        self._give_way()

    def lose_client(self) -> None:
        """Stop holding the body of a client that has gone: the connection gives the lease back."""

    def _give_way(self) -> None:
        self._client.give_way(self.head, self._whole(), None)

    def _whole(self) -> bytes:
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
