"""Reads the responses of one upstream connection, without any I/O: llhttp parses, and a receiver gets the parts.

It never looks behind the end of an answer: bytes that come there make the connection unfit for another request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import httptools
from mypy_extensions import mypyc_attr

from sidecar.http.client.response import BadResponse, ResponseTemplate, UpstreamError, UpstreamFailure, read_head
from sidecar.http.framing import Framing, ResponseHead

MAX_HEAD: Final = 256 * 1024
"""Most bytes of an answer's header fields."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})

logger = logging.getLogger(__name__)


@mypyc_attr(allow_interpreted_subclasses=True)
class ResponseReceiver:
    """Gets one answer by plain calls, none of which may raise.

    After `whole`, `end`, `upgraded` or `failed` there are no more.
    """

    __slots__ = ()

    def interim(self, head: ResponseHead) -> None:
        """A 1xx answer came; the real one is still to come."""
        raise NotImplementedError

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """A whole answer of declared length came at once; there is no `head`, `body` or `end`."""
        raise NotImplementedError

    def head(self, head: ResponseHead) -> None:
        """The status line and header fields came."""
        raise NotImplementedError

    def body(self, data: bytes) -> None:
        """A piece of the body came."""
        raise NotImplementedError

    def flush(self) -> None:
        """Everything that one read brought has been passed on."""
        raise NotImplementedError

    def end(self) -> None:
        """The answer is complete."""
        raise NotImplementedError

    def upgraded(self, head: ResponseHead, transport: asyncio.Transport, first: bytes) -> None:  # noqa: ARG002
        """The upstream switched protocols: the connection and the bytes after the head are the receiver's now.

        A receiver that asked for no upgrade does not overwrite this: it closes the connection and fails.
        """
        transport.abort()
        self.failed(BadResponse("the upstream switched protocols"))

    def failed(self, failure: UpstreamError) -> None:
        """There will be no answer, or no more of it."""
        raise NotImplementedError


class ResponseReader:
    """Reads one answer after another. `begin` makes it ready for the next.

    `touched` says that some of the answer came, `head` is its head once that is complete, `done` that the answer is.
    `unfit` says that no other request may be sent on the connection. `interims` counts 1xx answers.
    """

    def __init__(self) -> None:
        self.touched = False
        self.done = False
        self.unfit = False
        self.interims = 0
        self.head: ResponseHead | None = None
        self._receiver: ResponseReceiver | None = None
        self._is_head = False
        self._upgrade = False
        self._size = 0
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpResponseParser(self)

    def begin(self, receiver: ResponseReceiver, *, is_head: bool, upgrade: bool) -> None:
        """Expect the answer to a request; whether it was a HEAD, and whether it asked for an upgrade."""
        if self._is_head:
            # The parser cannot be told that no body follows, and would take the next answer for one.
            self._parser = httptools.HttpResponseParser(self)
        self.touched = self.done = False
        self.interims = 0
        self.head = None
        self._receiver = receiver
        self._is_head = is_head
        self._upgrade = upgrade
        self._size = 0

    def recognise(self, template: ResponseTemplate, data: bytes) -> bytes | None:
        """Give the body where `data` is a whole answer, and a familiar one; a refused upgrade has to be read."""
        if len(data) != template.size or self.touched or self._is_head or self._upgrade:
            return None
        if not data.startswith(template.raw):
            return None
        self.touched = True
        return data[len(template.raw) :]

    def feed(self, data: bytes) -> bytes | None:
        """Parse what came. Gives the bytes after a 101, None before and without one. Raises BadResponse."""
        self.touched = True
        if self.head is None:
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            if not self.done:
                raise _reason_of(error) from error
            self.unfit = True
        if self.head is None:
            self._check_size(self._size)
        return None

    def template(self, data: bytes) -> ResponseTemplate | None:
        """Give what to know such an answer by, if `data` was just one whole answer of declared length."""
        head = self.head
        if head is None or head.framing.length is None or self.unfit or self._is_head or head.status in (204, 304):
            return None
        end = len(data) - head.framing.length
        if not data.startswith(b"HTTP/1.1 ") or data.find(b"\r\n\r\n") + 4 != end:
            return None
        return ResponseTemplate(data[:end], head, head.framing.length)

    def switching_head(self) -> ResponseHead:
        """Give the head of the 101 after which `feed` gave bytes."""
        return ResponseHead(101, self._reason, self._headers, Framing())

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A status line begins: that of this request's response, or of an unsolicited one."""
        if self.done:
            self.unfit = True
        self._reason = b""
        self._headers = []

    def on_status(self, reason: bytes) -> None:
        """Take (a part of) the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field; trailers are dropped."""
        if self.head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell the receiver."""
        if self.done or self._receiver is None:
            return
        if self._parser.get_http_version() not in _VERSIONS:
            raise BadResponse("the upstream does not speak HTTP/1.1")
        if self._size > MAX_HEAD:
            self._check_size(sum(len(name) + len(value) + 4 for name, value in self._headers))
        status = self._parser.get_status_code()
        if status < 200:
            self._interim(status, self._receiver)
            return
        keep_alive = self._parser.should_keep_alive()
        self.head = read_head(status, self._reason, self._headers, keep_alive=keep_alive, bodiless=self._is_head)
        # A server that has refused an upgrade may still take what follows for the other protocol.
        self.unfit = self._upgrade or not keep_alive
        self.done = self._is_head
        self._receiver.head(self.head)

    def on_body(self, data: bytes) -> None:
        """End the response; bytes after a complete response belong to none."""
        if self.done:
            self.unfit = True
        elif self._receiver is not None:
            self._receiver.body(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer, unless it was an interim one."""
        if self.head is not None:
            self.done = True

    def _check_size(self, size: int) -> None:
        if size > MAX_HEAD:
            raise BadResponse("the upstream's header fields are too large")

    def _interim(self, status: int, receiver: ResponseReceiver) -> None:
        if status < 100 or (status == 101 and not (self._upgrade and self._parser.should_upgrade())):
            raise BadResponse(f"the upstream answered with an unexpected status {status}")
        if status != 101:
            self.interims += 1
            receiver.interim(ResponseHead(status, self._reason, self._headers, Framing()))


def _reason_of(error: httptools.HttpParserError) -> UpstreamFailure:
    cause = error.__context__
    if isinstance(cause, UpstreamFailure):
        return cause
    if cause is not None:
        logger.error("failed to handle an answer of the upstream", exc_info=cause)
    return BadResponse(f"the upstream's answer is malformed: {error}")
