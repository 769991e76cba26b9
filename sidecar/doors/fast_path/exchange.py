"""One request on the fast path: upstream events become writes to the client connection, without a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from sidecar.doors.fast_path.request_template import RequestTemplate
from sidecar.doors.refusal import Response, identified
from sidecar.guard.permit import Permit
from sidecar.http.framing import ForwardedHead, ResponseHead
from sidecar.http.headers import encode_fields
from sidecar.http.ports import FastForwarder, UpstreamError, UpstreamExchange
from sidecar.http.server.response_writer import ResponseWriter
from sidecar.model import Extraction
from sidecar.request_context import on_behalf_of


class FastPathClient(Protocol):
    """The client connection as an exchange sees it."""

    forwarder: FastForwarder
    unanswered: Callable[[Extraction | None, UpstreamError], Response]
    write_paused: bool

    def write(self, data: bytes) -> None:
        """Write to the client."""
        ...

    def land(self, data: bytes, *, closes: bool) -> None:
        """Write the last of a response, and go on to the next request."""
        ...

    def count_response(self, status: int) -> None:
        """Count a response by the class of its status code."""
        ...

    def is_last(self) -> bool:
        """Whether no request will be taken after the one being served."""
        ...

    def break_off(self, *, hard: bool) -> None:
        """Close in the middle of a response."""
        ...

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task for the request being served."""
        ...


class FastPathExchange:
    """One request on the fast path and the receiver of its response.

    `extraction` is what the body says, None where no rule looks at the request. A request without a body is sent once
    more on a new connection where the first was stale (RFC 9110, section 9.2.2).
    """

    _answer: ResponseWriter | None = None
    _unsent = b""
    _repetition: asyncio.Task[None] | None = None

    def __init__(
        self,
        protocol: FastPathClient,
        template: RequestTemplate,
        permit: Permit,
        line: UpstreamExchange,
        *,
        request: bytes,
        extraction: Extraction | None = None,
    ) -> None:
        self.line = line
        self._protocol = protocol
        self._template = template
        self._request = request
        self._extraction = extraction
        self._permit = permit

    # For the protocol

    def send(self, arrived: float) -> None:
        """Send the request, which was here at `arrived`."""
        method = self._template.method
        self._protocol.forwarder.send(self._permit, self.line, self._request, self, arrived, method=method)

    def lose_client(self) -> None:
        """Give the exchange up: the client has gone."""
        if self._repetition is not None:
            self._repetition.cancel()
        self.line.abort()

    @property
    def is_stream(self) -> bool:
        """Whether it has begun an answer of no declared length."""
        return self._answer is not None and not self._answer.has_length

    @property
    def is_event_stream(self) -> bool:
        """Whether it answers a GET with a stream of events, which would never end by itself."""
        return self._answer is not None and self._answer.event_stream and self._template.method == "GET"

    def end_event_stream(self) -> None:
        """End a stream that would never end by itself; where its framing allows, as a complete answer."""
        assert self._answer is not None  # noqa: S101 # for the type checker: an event stream has begun
        self.line.abort()
        try:
            last = self._unsent + self._answer.end()
        except RuntimeError:
            self._protocol.break_off(hard=not self._answer.delimited)
        else:
            self._protocol.land(last, closes=True)

    # For the line: the answer

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on, except a 100, for which no request on the fast path waits."""
        if head.status != 100:
            fields = encode_fields(self._protocol.forwarder.interim_fields(head))
            self._protocol.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, fields))

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """Write a whole answer, and go on to the next request."""
        passed = self._protocol.forwarder.answer_head(head, self._permit)
        self._protocol.count_response(head.status)
        closes = self._template.closes or self._protocol.is_last()
        written = passed.written.get(closes)
        if written is None:
            written = passed.written[closes] = self._begin(passed, closes=closes).head
        self._protocol.land(written + body, closes=closes)

    def head(self, head: ResponseHead) -> None:
        """Begin the answer."""
        passed = self._protocol.forwarder.answer_head(head, self._permit)
        self._protocol.count_response(head.status)
        self._answer = self._begin(passed, closes=self._template.closes or self._protocol.is_last())
        self._unsent = self._answer.head

    def body(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        assert self._answer is not None  # noqa: S101 # for the type checker: the head comes first
        self._unsent += self._answer.piece(data)

    def flush(self) -> None:
        """Write what has come."""
        if self._unsent:
            self._protocol.write(self._unsent)
            self._unsent = b""

    def end(self) -> None:
        """Write the rest, and go on to the next request."""
        assert self._answer is not None  # noqa: S101 # for the type checker: the head comes first
        self._protocol.land(self._unsent + self._answer.end(), closes=self._answer.closes)

    def upgraded(self, _head: ResponseHead, transport: asyncio.Transport, _first: bytes, /) -> None:
        """Close the connection: no request on the fast path asks for an upgrade."""
        transport.abort()

    def failed(self, failure: Exception) -> None:
        """Answer in the upstream's place, or break the answer off that it had begun."""
        protocol, template = self._protocol, self._template
        unanswered = self._answer is None
        if unanswered and not template.has_body and self._repetition is None and protocol.forwarder.is_stale(failure):
            self._repetition = protocol.run_beside(self._repeat())
            return
        with on_behalf_of(template.method, template.target, template.headers):
            error = protocol.forwarder.explain(failure)
            if self._answer is not None:
                protocol.break_off(hard=not self._answer.delimited)
                return
            answer_in_place(protocol, template, protocol.unanswered(self._extraction, error))

    async def _repeat(self) -> None:
        """Send the request once more, on a new connection."""
        try:
            self.line = await self._protocol.forwarder.connect()
        except UpstreamError as error:
            self.failed(error)
        else:
            if self._protocol.write_paused:
                self.line.pause_reading()
            self.line.start(self, self._request, method=self._template.method, complete=True)

    def _begin(self, head: ForwardedHead, *, closes: bool) -> ResponseWriter:
        method, version = self._template.method, self._template.version
        return ResponseWriter(
            method, version, head.status, head.reason, head.headers, closes=closes, framing=head.framing
        )


def answer_in_place(client: FastPathClient, template: RequestTemplate, response: Response) -> None:
    """Answer a request in the upstream's place, with the id of the current request."""
    response = identified(response)
    client.count_response(response.status)
    closes = template.closes or client.is_last()
    writer = ResponseWriter(template.method, template.version, response.status, None, response.headers, closes=closes)
    client.land(writer.head + writer.piece(response.body) + writer.end(), closes=writer.closes)
