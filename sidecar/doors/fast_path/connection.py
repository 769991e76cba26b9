"""A client connection on the fast path: how requests are sent for it, and answered where the upstream does not.

A request that no rule looks at is sent as it comes, and its body is streamed.
"""

from __future__ import annotations

import logging
from time import monotonic

from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.refusal import Response, identified
from sidecar.guard.permit import Permit
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.proxied_response import ProxiedResponse
from sidecar.http.client.response import UpstreamError
from sidecar.http.framing import ForwardedHead, encode_chunk, read_framing
from sidecar.http.ports import BodySink, ResponseClient
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.request_head import RequestHead
from sidecar.http.server.serving import Shared
from sidecar.model import BODY_LATE, Extraction
from sidecar.request_context import on_behalf_of

logger = logging.getLogger(__name__)


class ForwardingConnection(HardenedProtocol, ResponseClient):
    """Decides requests that are here, forwards those that get a permit, and takes their responses."""

    __slots__ = ("_extraction", "_guard", "_unguarded", "unanswered", "upstream")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        path: FastPath = shared.fast_path
        self.upstream = path.upstream
        self.unanswered = path.unanswered
        self._guard = path.guard
        self._unguarded = path.unguarded
        self._extraction: Extraction | None = None

    def serve(self, head: RequestHead, body: bytes) -> None:
        """Forward a whole request, if the guard permits it at once and a connection is free."""
        self._extraction = None
        # A client that does not read its answers is made to wait by the application; the fast path never waits.
        line = None if self.write_paused else self.upstream.pool.take()
        if line is None:
            self.give_way(head, body, None)
            return
        arrived = monotonic()
        try:
            permit = self._permit(head, body)
        except Exception:
            logger.exception("the fast path could not decide a request")
            permit = None
        if permit is not None:
            self.send(head, permit, line, body, arrived)
            return
        self.upstream.pool.release(line)
        self.ask(head, body, self._extraction, arrived)

    def _permit(self, head: RequestHead, body: bytes) -> Permit | None:
        """Read the body, where a rule looks at it, and decide what needs no question."""
        classification = head.classification
        if classification is None:
            permit = self._guard.pass_through()
            self.look(head, body)
            return permit
        extraction = self._extraction = classification.extract(body)
        return self._guard.permit_known(extraction)

    def send(self, head: RequestHead, permit: Permit, line: UpstreamConnection, body: bytes, arrived: float) -> None:
        """Send a whole request, which had arrived at `arrived`."""
        response = ProxiedResponse(self.upstream, self, permit, head.method)
        self._served = response
        self._line = line
        if self.write_paused:
            line.pause_reading()
        written = head.upstream_head or self.upstream.request_head(head, self.peer)
        response.send(line, written, arrived, complete=True, body=body)

    def stream(self, head: RequestHead, line: UpstreamConnection) -> None:
        """Send the head of a request that no rule looks at, and its body as it comes."""
        arrived = monotonic()
        self._extraction = None
        response = ProxiedResponse(self.upstream, self, self._guard.pass_through(), head.method)
        self._served = response
        # First of all, so that a response to a request that is not whole closes the connection.
        self._expect(head, StreamedBody(self, head, response, line))
        self.expect_body(waiting=True)
        self.follow(line)
        response.send(line, self.upstream.request_head(head, self.peer), arrived, complete=False)
        self._feed_buffer()

    def look(self, head: RequestHead, piece: bytes) -> None:
        """Look for a name that the profile watches; a failure of that does not hold the request up."""
        if self._unguarded is not None:
            try:
                self._unguarded.look(head, piece)
            except Exception:
                logger.exception("the fast path could not look at an unguarded request")

    def fail(self, failure: Exception) -> None:
        """Answer in the upstream's place, or break the answer off that it had begun."""
        head = self._head
        assert head is not None  # noqa: S101 # for the type checker: a request is being served
        with on_behalf_of(head):
            error = self.upstream.explain(failure)
            if self.has_begun:
                self.break_off()
                return
            self.respond(self.unanswered(self._extraction, error))

    def respond(self, response: Response) -> None:
        """Answer in the upstream's place, with the id of the current request."""
        response = identified(response)
        self.begin(ForwardedHead(response.status, None, response.headers, read_framing(response.headers)))
        self.piece(response.body)
        self.end()

    # Requests that are not forwarded at once

    def ask(self, head: RequestHead, body: bytes, extraction: Extraction | None, arrived: float) -> None:
        """Have the guard decide a whole request with a question to the session service; an unread one gives way."""
        raise NotImplementedError

    def give_way(self, head: RequestHead, body: bytes, extraction: Extraction | None) -> None:
        """Leave a request to the application, with what is here of its body and what was learnt of it."""
        raise NotImplementedError

    def wait_for_more(self) -> None:
        """Begin anew to wait for a piece of a body that is held."""
        raise NotImplementedError


class StreamedBody(BodySink):
    """The body of a request that no rule looks at, on its way to the upstream while the client still sends.

    The client is not read while the upstream does not read.
    """

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
