"""A bounded, replayable request body: read for its ids as far as limits allow, then handed on as it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Self

from sidecar.core.model import Headers, Reason, Refuse
from sidecar.core.refusals import Refusal
from sidecar.frontends.coding import coding_of, decode
from sidecar.ports import Message, Receive

RETRY_AFTER: Final = 1
"""Seconds after which a client may try again when too much is being held."""


class BodyRefused(Exception):
    """The body is too large, too slow, too much in sum, or in a coding that is not decoded: `refuse` says which."""

    def __init__(self, refuse: Refuse) -> None:
        super().__init__(refuse.detail)
        self.refuse = refuse


class ClientDisconnected(Exception):
    """The client went away before its body was complete: there is nobody to answer."""


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
            raise BodyRefused(Refuse(Reason.OVERLOADED, detail, retry_after=RETRY_AFTER))
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._budget.give_back(self.size)


@dataclass(frozen=True, slots=True)
class Body:
    """A whole body: `raw` as it came and goes on, `content` without its content coding, for reading."""

    raw: bytes
    content: bytes


class BodyReader:
    """Reads bodies of at most `limit` bytes, waiting at most `piece_timeout` seconds for each piece."""

    def __init__(self, *, limit: int, piece_timeout: float, budget: BodyBudget) -> None:
        self._limit = limit
        self._piece_timeout = piece_timeout
        self._budget = budget

    @asynccontextmanager
    async def hold(self, headers: Headers, receive: Receive) -> AsyncIterator[Body]:
        """Read a request's body; it counts as held until the block ends.

        What the head alone rules out is refused before anything is received, so that no `100 Continue` is sent.
        Raises BodyRefused and ClientDisconnected.
        """
        with self._budget.lease() as lease:
            try:
                coding = coding_of(headers)
                if declared_length(headers) > self._limit:
                    self._refuse_size()
                raw = await self._receive_all(receive, lease)
                body = Body(raw, decode(raw, coding, limit=self._limit))
            except Refusal as refusal:
                raise BodyRefused(refusal.refuse) from None
            yield body

    async def _receive_all(self, receive: Receive, lease: Lease) -> bytes:
        loop = asyncio.get_running_loop()
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(self._piece_timeout) as timer:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientDisconnected
                    piece = message.get("body", b"")
                    if lease.size + len(piece) > self._limit:
                        self._refuse_size()
                    lease.take(len(piece))
                    pieces.append(piece)
                    if not message.get("more_body", False):
                        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
                    timer.reschedule(loop.time() + self._piece_timeout)
        except TimeoutError:
            detail = f"No more of the body came for {self._piece_timeout:g} seconds."
            raise BodyRefused(Refuse(Reason.BODY_TIMEOUT, detail)) from None

    def _refuse_size(self) -> NoReturn:
        detail = f"The body has more than {self._limit} bytes, the most that is read for a session id."
        raise BodyRefused(Refuse(Reason.BODY_TOO_LARGE, detail))


def declared_length(headers: Headers) -> int:
    """The Content-Length in bytes; 0 where there is none, for the server lets no malformed one through."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def replay(raw: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body in one piece, and then what the connection really brings: its end."""
    left = [raw]

    async def replayed() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replayed
