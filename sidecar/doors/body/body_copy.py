"""A copy of a request body that is taken while the body is forwarded, as far as limits allow."""

from __future__ import annotations

from starlette.types import Message, Receive

from sidecar.doors.body.bounded_body import BodyRefused, Lease
from sidecar.model import Headers


class BodyCopy:
    """Passes a body on and keeps a copy. `is_whole` says whether the copy is complete, but for what `limit` cut off."""

    def __init__(self, headers: Headers, receive: Receive, lease: Lease, limit: int) -> None:
        self._receive = receive
        self._lease = lease
        self._limit = limit
        self.pieces: list[bytes] = []
        # A request that declares no body is whole before anything is received.
        fields = dict(headers)
        self.is_whole = b"transfer-encoding" not in fields and int(fields.get(b"content-length", b"0")) == 0
        self._is_given_up = False

    async def receive(self) -> Message:
        """Give what the client sends, and keep it."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._keep(message.get("body", b""))
            self.is_whole = not (message.get("more_body", False) or self._is_given_up)
        return message

    def _keep(self, piece: bytes) -> None:
        """One byte over the limit is enough to see that the body is too large."""
        room = self._limit + 1 - self._lease.size
        if room <= 0 or not piece or self._is_given_up:
            return
        try:
            self._lease.take(len(piece[:room]))
        except BodyRefused:
            self._is_given_up = True
            return
        self.pieces.append(piece[:room])
