"""The interfaces between server side, client side and doors: wires, clients, served requests and body sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from mypy_extensions import mypyc_attr, trait

from sidecar.extract.extractor import Classification
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.response import UpstreamError
from sidecar.http.framing import ForwardedHead
from sidecar.model import Extraction, Head, Headers


class WireHead(Head):
    """What the wire said of a request before its body, and what follows from that.

    `raw_headers` are the fields as they came, names in the sender's case. `upgrade` says that the request asks for an
    upgrade and may have it: a bodyless HTTP/1.1 GET, for something other than h2c.

    What follows is worked out once for as long as the connection repeats the bytes of the head. `classification` counts
    only where `classified` is true: None says that no rule looks at the request. `upstream_head` is the head as it is
    written to the upstream, `upstream_fields` what of it stands behind the request line: that does not depend on the
    target. `way` belongs to the fast path, 0 for a head that it has not seen, and `original` to the authoriser, for a
    head that asks about another.
    """

    raw_headers: Headers
    has_host: bool
    has_body: bool = False
    chunked: bool = False
    upgrade: bool = False

    classified: bool = False
    classification: Classification | None = None
    way: int = 0
    original: Any = None
    upstream_head: bytes | None = None
    upstream_fields: bytes | None = None

    def classify(self, classify: Callable[[Head], Classification | None]) -> Classification | None:
        """Classify the request, once for all that repeat its head."""
        if not self.classified:
            self.classification = classify(self)
            self.classified = True
        return self.classification


@mypyc_attr(allow_interpreted_subclasses=True)
class Wire:
    """What the wire said and ASGI cannot: our own server puts it into `scope[WIRE]`.

    An `http.response.start` message may carry three keys more than ASGI's own: `reason` (bytes, the phrase after the
    status), `framing` (what the fields say of it, where that is known) and `body_follows` (true if a body message comes
    at once, so that both can leave in one write). Field names are written in the case they are given. An answer with
    neither `Content-Length` nor `Transfer-Encoding` is chunked, unless it says `Connection: close`: then it ends with
    the connection.
    """

    head: WireHead
    peer: str | None
    """The client's IP address; None on a Unix socket."""
    body_complete: bool
    """Whether the whole body has arrived."""
    extraction: Extraction | None
    """What the fast path extracted from the body before it gave way; None where the body is still to be parsed."""
    arrived: float
    """When the head was complete, or the whole body where that has come since (`time.monotonic`)."""
    response: Served | None
    """Is told when the client goes away before its answer is complete."""
    gone: bool
    """Whether the client has gone."""
    wants_messages: bool
    """A layer around the forwarder reads the messages of the response. Unless one sets this, the upstream's response
    goes to a wire that is a `ResponseClient` by plain calls, and no `send` sees any of it."""

    @property
    def body_arrived(self) -> bool:
        """Some of the body, or its end, is there: the first `receive` will not wait."""
        raise NotImplementedError

    def yield_continue(self) -> bool:
        """Leave `100 Continue` to the upstream; says whether the client is still waiting for one."""
        raise NotImplementedError

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send an interim answer (1xx, but not 101) on, to clients that know what it is (HTTP/1.1)."""
        raise NotImplementedError

    def break_off(self) -> None:
        """Break the connection so that the answer begun cannot look complete."""
        raise NotImplementedError

    async def tunnel(self, reason: bytes, headers: Headers, upstream: asyncio.Transport, first: bytes) -> None:
        """Answer 101, then pass bytes both ways untouched, `first` before all others; returns when it is over."""
        raise NotImplementedError


WIRE: Final = "sidecar.wire"
"""Where our own server puts the wire of a request into its scope."""


@trait
class ResponseClient:
    """Takes the upstream's response by plain calls; `whole`, `end` and `fail` are the last."""

    __slots__ = ()

    def follow(self, line: UpstreamConnection) -> None:
        """Hold `line` back while the client does not read, until the response is over."""
        raise NotImplementedError

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send an interim response (1xx, but not 101) on, to a client that knows what it is (HTTP/1.1)."""
        raise NotImplementedError

    def whole(self, head: ForwardedHead, body: bytes) -> None:
        """Send a whole response of declared length."""
        raise NotImplementedError

    def begin(self, head: ForwardedHead) -> None:
        """Begin a response."""
        raise NotImplementedError

    def piece(self, data: bytes) -> None:
        """Take a piece of the body."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what was taken."""
        raise NotImplementedError

    def end(self) -> None:
        """End the response."""
        raise NotImplementedError

    def fail(self, failure: UpstreamError) -> None:
        """There is no response, or no more of it: one that has begun must not look complete."""
        raise NotImplementedError

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the request."""
        raise NotImplementedError


@trait
class Served:
    """A request that is being served, by an application or by an upstream."""

    __slots__ = ()

    def lose_client(self) -> None:
        """Give the request up: no client waits for the response."""
        raise NotImplementedError

    def end_stream(self) -> None:
        """Give up what streams the response, which the connection has ended."""
        self.lose_client()


@trait
class BodySink:
    """Where the body of a request goes as it comes."""

    __slots__ = ()

    def feed(self, piece: bytes, *, complete: bool) -> None:
        """Take a piece of the body, or its end."""
        raise NotImplementedError

    def fail_body(self, failure: Exception) -> None:
        """Give up waiting for the rest."""
        raise NotImplementedError
