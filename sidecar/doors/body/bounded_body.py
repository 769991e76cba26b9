"""A bounded, replayable request body: read for its ids as far as limits allow, then handed on as it came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, Self

from starlette.types import Message, Receive

from sidecar.doors.body.content_coding import coding_of, decode
from sidecar.extract.refused import RequestRefused
from sidecar.model import RETRY_AFTER, Headers, Reason, Refusal


class BodyRefused(Exception):
    """The body is too large, too slow, too much in sum, or in a coding that is not decoded: `refuse` says which."""

    def __init__(self, refuse: Refusal) -> None:
        super().__init__(refuse.detail)
        self.refuse = refuse


class ClientDisconnected(Exception):
    """The client went away before its body was complete: no response can reach it."""


class BodyBudget:
    """The bytes of all bodies that are held at the same time, over all requests; at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def lease(self) -> Lease:
        """A share for one body, empty at first, to be used in a `with` block."""
        return Lease(self)

    def take(self, size: int) -> None:
        """Count `size` bytes more. Raises BodyRefused where that would be too many."""
        if self.held + size > self._limit:
            detail = "Too many request bodies are being read at the moment."
            raise BodyRefused(Refusal(Reason.OVERLOADED, detail, retry_after=RETRY_AFTER))
        self.held += size

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self.held -= size


class Lease:
    """What one body takes of the budget; all of it is given back at the end of the `with` block."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    def take(self, size: int) -> None:
        """Count `size` bytes more. Raises BodyRefused where all bodies together would be too large."""
        self._budget.take(size)
        self.size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        self._budget.give_back(self.size)
        self.size = 0


@dataclass(frozen=True, slots=True)
class Body:
    """A whole body: `raw` as it came and goes on, `content` without its content coding, for reading."""

    raw: bytes
    content: bytes


class BodyReader:
    """Reads bodies of at most `limit` bytes. How long a piece may take is the server's business."""

    def __init__(self, *, limit: int, budget: BodyBudget) -> None:
        self._limit = limit
        self._budget = budget

    def hold(self, headers: Headers, receive: Receive) -> HeldBody:
        """Read a request's body in an `async with` block; it counts as held until the block ends.

        What the head alone rules out is refused before anything is received, so that no `100 Continue` is sent.
        Entering the block raises BodyRefused and ClientDisconnected.
        """
        return HeldBody(self, headers, receive, self._budget.lease())

    async def read(self, headers: Headers, receive: Receive, lease: Lease) -> Body:
        """Read a whole body on a lease. Raises BodyRefused and ClientDisconnected."""
        try:
            coding = coding_of(headers)
            if declared_length(headers) > self._limit:
                self._refuse_size()
            raw = await self._receive_all(receive, lease)
            return Body(raw, decode(raw, coding, limit=self._limit))
        except RequestRefused as refusal:
            raise BodyRefused(refusal.refuse) from None

    async def _receive_all(self, receive: Receive, lease: Lease) -> bytes:
        pieces: list[bytes] = []
        while True:
            try:
                message = await receive()
            except TimeoutError:
                detail = "The rest of the request body did not come in time."
                raise BodyRefused(Refusal(Reason.BODY_TIMEOUT, detail)) from None
            if message["type"] != "http.request":
                raise ClientDisconnected
            piece = message.get("body", b"")
            if lease.size + len(piece) > self._limit:
                self._refuse_size()
            lease.take(len(piece))
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _refuse_size(self) -> NoReturn:
        detail = f"The body has more than {self._limit} bytes, the most that is read for a session id."
        raise BodyRefused(Refusal(Reason.BODY_TOO_LARGE, detail))


class HeldBody:
    """A body that is read when its block begins and let go when it ends."""

    # A class, because a generator as a context manager costs this path, which every guarded write takes, twice as much.
    __slots__ = ("_headers", "_lease", "_reader", "_receive")

    def __init__(self, reader: BodyReader, headers: Headers, receive: Receive, lease: Lease) -> None:
        self._reader = reader
        self._headers = headers
        self._receive = receive
        self._lease = lease

    async def __aenter__(self) -> Body:
        try:
            return await self._reader.read(self._headers, self._receive, self._lease)
        except BaseException:
            self._lease.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._lease.close()


def declared_length(headers: Headers) -> int:
    """The Content-Length in bytes; 0 where there is none, for the server lets no malformed one through."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return 0


def replay(raw: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body in one piece, and then what the connection really brings: its end."""
    left = [raw]

    async def replayed() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replayed
