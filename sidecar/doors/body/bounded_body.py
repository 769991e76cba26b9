"""A bounded, replayable request body: read for its ids as far as limits allow, then handed on as it came."""

from __future__ import annotations

from typing import NoReturn, Self

from starlette.types import Message, Receive

from sidecar.doors.body.content_coding import IDENTITY, coding_of, decode
from sidecar.extract.refused import RequestRefused
from sidecar.http.client.response import ClientGone
from sidecar.model import BODY_LATE, RETRY_AFTER, Headers, Reason, Refusal


class BodyRefused(Exception):
    """The body is too large, too slow, too much in sum, or in a coding that is not decoded: `refuse` says which."""

    def __init__(self, refuse: Refusal) -> None:
        super().__init__(refuse.detail)
        self.refuse = refuse


def too_large(limit: int) -> Refusal:
    """Refuse a body of more than `limit` bytes."""
    detail = f"The body has more than {limit} bytes, the most that is read for a session id."
    return Refusal(Reason.BODY_TOO_LARGE, detail)


class BodyBudget:
    """The memory for request bodies: at most `limit` bytes for one, and `total` bytes for all that are held at once.

    `held` is how many bytes are held. How long a piece of a body may take is the server's business.
    """

    def __init__(self, *, limit: int, total: int) -> None:
        self.limit = limit
        self.total = total
        self.held = 0

    def lease(self, size: int = 0) -> Lease:
        """A share for one body, of `size` bytes at first, to be used in a `with` block. Raises BodyRefused."""
        lease = Lease(self)
        lease.take(size)
        return lease

    def hold(self, headers: Headers, receive: Receive) -> HeldBody:
        """Read a request's body in an `async with` block; it counts as held until the block ends.

        What the head alone rules out is refused before anything is received, so that no `100 Continue` is sent.
        Entering the block raises BodyRefused and ClientGone.
        """
        return HeldBody(headers, receive, self)


class Lease:
    """What one body takes of the budget; all of it is given back at the end of the `with` block."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    def take(self, size: int) -> None:
        """Count `size` bytes more. Raises BodyRefused where all bodies together would be too large."""
        budget = self._budget
        if budget.held + size > budget.total:
            detail = "Too many request bodies are being read at the moment."
            raise BodyRefused(Refusal(Reason.OVERLOADED, detail, retry_after=RETRY_AFTER))
        budget.held += size
        self.size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        self._budget.held -= self.size
        self.size = 0


class Replay:
    """A body that was received, `raw`, to be received once more."""

    __slots__ = ("_is_replayed", "_receive", "raw")

    def __init__(self, raw: bytes, receive: Receive) -> None:
        self.raw = raw
        self._receive = receive
        self._is_replayed = False

    async def receive(self) -> Message:
        """Give the body in one piece, and then what the connection gives: the disconnect."""
        if self._is_replayed:
            return await self._receive()
        self._is_replayed = True
        return {"type": "http.request", "body": self.raw, "more_body": False}


class HeldBody(Replay):
    """A whole body, which is read when its block begins and released when it ends.

    `raw` is the body as it came and goes on, `content` without its content coding, for reading.
    """

    # A class, because a generator as a context manager costs this path, which every guarded write takes, twice as much.
    __slots__ = ("_headers", "_lease", "_limit", "content")

    def __init__(self, headers: Headers, receive: Receive, budget: BodyBudget) -> None:
        super().__init__(b"", receive)
        self._headers = headers
        self._lease = budget.lease()
        self._limit = budget.limit
        self.content = b""

    async def __aenter__(self) -> Self:
        try:
            fields = dict(self._headers)
            coding = coding_of(self._headers) if b"content-encoding" in fields else IDENTITY
            # The server lets no malformed length through.
            if int(fields.get(b"content-length", b"0")) > self._limit:
                self._refuse_size()
            self.raw = self.content = await self._receive_all()
            if coding != IDENTITY:
                self.content = decode(self.raw, coding, limit=self._limit)
        except RequestRefused as refusal:
            self._lease.close()
            raise BodyRefused(refusal.refuse) from None
        except BaseException:
            self._lease.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._lease.close()

    async def _receive_all(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            try:
                message = await self._receive()
            except TimeoutError:
                raise BodyRefused(BODY_LATE) from None
            if message["type"] != "http.request":
                raise ClientGone
            piece = message.get("body", b"")
            if self._lease.size + len(piece) > self._limit:
                self._refuse_size()
            self._lease.take(len(piece))
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _refuse_size(self) -> NoReturn:
        raise BodyRefused(too_large(self._limit))
