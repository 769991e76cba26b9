"""What passes between the server side, the client side and the doors: wires, upstream exchanges, receivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from starlette.types import Receive, Scope, Send

from sidecar.extract.extractor import Classification
from sidecar.guard.permit import Permit
from sidecar.http.framing import ForwardedHead, ResponseHead
from sidecar.model import Extraction, Headers, Reason


class PermitLapsed(Exception):
    """The permit is no longer valid because of what became known while the request waited to be sent."""


class Forwarder(Protocol):
    """Hands a request on to the memory service and its answer back, byte for byte."""

    async def forward(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request that holds the permit.

        If the request has to wait for a connection, the permit is checked when there is one. Raises PermitLapsed where
        it is no longer valid, and then nothing was received or sent. Raises UpstreamError while no byte of the response
        was sent on; later failures break the connection, so that a cut response never looks complete.
        """
        ...


class HeadMemo:
    """What follows from a head alone, worked out once for as long as the connection repeats its bytes.

    `classification` counts only where `classified` is true: None says that no rule looks at the request.
    `upstream_head` is the head as it is written to the upstream, `upstream_fields` what of it stands behind the request
    line: that does not depend on the target.
    """

    __slots__ = ("classification", "classified", "upstream_fields", "upstream_head")

    def __init__(self) -> None:
        self.classified = False
        self.classification: Classification | None = None
        self.upstream_head: bytes | None = None
        self.upstream_fields: bytes | None = None


class WireHead(Protocol):
    """What the wire said of a request before its body."""

    method: str
    target: bytes
    """The request target byte for byte."""
    headers: Headers
    """The fields as they came, names in the sender's case."""
    version: str
    """`1.0` or `1.1`."""
    peer: str | None
    """The client's IP address; None on a Unix socket."""
    has_host: bool
    has_body: bool
    chunked: bool
    upgrade: bool
    """The request asks for an upgrade and may have it: a bodyless HTTP/1.1 GET, for something other than h2c."""
    memo: HeadMemo


class Wire(WireHead, Protocol):
    """What the wire said and ASGI cannot: the server puts it into `scope["extensions"][WIRE]` for the forwarder.

    An `http.response.start` message may carry three keys more than ASGI's own: `reason` (bytes, the phrase after the
    status), `framing` (what the fields say of it, where that is known) and `body_follows` (true if a body message comes
    at once, so that both can leave in one write). Field names are written in the case they are given. An answer with
    neither `Content-Length` nor `Transfer-Encoding` is chunked, unless it says `Connection: close`: then it ends with
    the connection.
    """

    body_complete: bool
    """Whether the whole body has arrived."""
    extraction: Extraction | None
    """What the fast path extracted from the body before it gave way; None where the body is still to be parsed."""
    arrived: float
    """When the head was complete, or the whole body where that has come since (`time.monotonic`)."""
    body_arrived: bool
    """Some of the body, or its end, is there: the first `receive` will not wait."""

    wants_messages: bool
    """A layer around the forwarder reads the messages of the response. Unless one sets this, the upstream's response
    goes to the client by plain calls, and no `send` sees any of it."""

    status: int | None
    """The status code of the response, once it has begun."""
    sent: int
    """Bytes of the response's body so far."""
    received: int
    """Bytes of the request's body so far."""
    answered: bool
    """The answer was complete, or the connection became a tunnel."""

    @property
    def left(self) -> bool:
        """Whether the client closed the connection before its answer was complete."""
        ...

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called, once and at once, when the client goes away before its answer is complete."""
        ...

    def yield_continue(self) -> bool:
        """Leave `100 Continue` to the upstream; says whether the client is still waiting for one."""
        ...

    def response_client(self) -> ResponseClient | None:
        """Give what takes the upstream's response by plain calls; None where it has to be messages."""
        ...

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send an interim answer (1xx, but not 101) on, to clients that know what it is (HTTP/1.1)."""
        ...

    def break_off(self) -> None:
        """Break the connection so that the answer begun cannot look complete."""
        ...

    async def tunnel(self, reason: bytes, headers: Headers, upstream: asyncio.Transport, first: bytes) -> None:
        """Answer 101, then pass bytes both ways untouched, `first` before all others; returns when it is over."""
        ...


WIRE: Final = "sidecar.wire"


class UpstreamExchange(Protocol):
    """A connection to the upstream that carries one request there and its answer to a `ResponseReceiver`."""

    def start(
        self, receiver: ResponseReceiver, data: bytes, *, method: str, complete: bool, upgrade: bool = False
    ) -> None:
        """Write the head of a request, and its body if `complete`."""
        ...

    @property
    def writing_held(self) -> bool:
        """Whether the upstream reads slower than the request is sent."""
        ...

    def write(self, data: bytes) -> None:
        """Write a piece of the request's body."""
        ...

    async def drain(self) -> None:
        """Wait until the upstream has read enough for more to be written."""
        ...

    def finish_request(self) -> None:
        """Note that the whole request has been written: from now on the answer is due."""
        ...

    def pause_reading(self) -> None:
        """Hold the upstream back."""
        ...

    def resume_reading(self) -> None:
        """Go on."""
        ...

    def abort(self) -> None:
        """Give the exchange up: the receiver hears no more, and the connection is closed."""
        ...


class ResponseSink(Protocol):
    """Takes one response by plain calls; `whole` and `end` are the last."""

    def follow(self, line: UpstreamExchange) -> None:
        """Hold `line` back while the client does not read, until the response is over."""
        ...

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send an interim response (1xx, but not 101) on, to a client that knows what it is (HTTP/1.1)."""
        ...

    def whole(self, head: ForwardedHead, body: bytes) -> None:
        """Send a whole response of declared length."""
        ...

    def begin(self, head: ForwardedHead) -> None:
        """Begin a response."""
        ...

    def piece(self, data: bytes) -> None:
        """Take a piece of the body."""
        ...

    def flush(self) -> None:
        """Send what was taken."""
        ...

    def end(self) -> None:
        """End the response."""
        ...

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the request."""
        ...


class ResponseClient(ResponseSink, Protocol):
    """Takes the upstream's response, or is told by `fail`, the last call too, that there is none."""

    def fail(self, failure: Exception) -> None:
        """There is no response, or no more of it: one that has begun must not look complete."""
        ...


class ResponseReceiver(Protocol):
    """Gets one answer by plain calls, none of which may raise.

    After `whole`, `end`, `upgraded` or `failed` there are no more.
    """

    def interim(self, head: ResponseHead) -> None:
        """A 1xx answer came; the real one is still to come."""
        ...

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """A whole answer of declared length came at once; there is no `head`, `body` or `end`."""
        ...

    def head(self, head: ResponseHead) -> None:
        """The status line and header fields came."""
        ...

    def body(self, data: bytes) -> None:
        """A piece of the body came."""
        ...

    def flush(self) -> None:
        """All that one read brought has been told."""
        ...

    def end(self) -> None:
        """The answer is complete."""
        ...

    def upgraded(self, head: ResponseHead, transport: asyncio.Transport, first: bytes) -> None:
        """The upstream switched protocols: the connection and the bytes after the head are the receiver's now."""
        ...

    def failed(self, failure: Exception) -> None:
        """There will be no answer, or no more of it."""
        ...


class FastForwarder(Protocol):
    """What one exchange needs of a forwarder, and the fast path: a connection that is free now, and no waiting."""

    def take(self) -> UpstreamExchange | None:
        """Give a free connection, if there is one."""
        ...

    def put_back(self, line: UpstreamExchange) -> None:
        """Give back a connection that was not needed after all."""
        ...

    def request_head(self, wire: WireHead) -> bytes:
        """Write the head of a request as the upstream is to get it."""
        ...

    def overhead(self, seconds: float) -> None:
        """Note how long a request was here before it was sent."""
        ...

    async def connect(self, *, fresh: bool = True) -> UpstreamExchange:
        """Open a new connection, or wait until one may be opened. Raises UpstreamError.

        Unless `fresh`, one that was used before and comes free will do.
        """
        ...

    def answer_head(self, head: ResponseHead, permit: Permit) -> ForwardedHead:
        """Give what the client may see of the head of an answer; the same object as long as both are the same."""
        ...

    def interim_fields(self, head: ResponseHead) -> Headers:
        """Give what the client may see of the fields of a 1xx answer."""
        ...

    def is_stale(self, failure: Exception) -> bool:
        """Whether a request failed before any byte of its answer, on a connection used before."""
        ...

    def explain(self, failure: Exception) -> UpstreamError:
        """Say what a failure that a receiver was told means, and take note of it."""
        ...


class UpstreamError(Exception):
    """The memory service gave no answer; `reason` is one of `upstream_*`, `overloaded` or `body_timeout`."""

    def __init__(self, reason: Reason, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
