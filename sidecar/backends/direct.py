"""One request and its answer without a coroutine, for the fast lane: plain calls from connection to receiver."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sidecar.backends.response import ResponseHead, UpstreamFailure, as_upstream_error
from sidecar.core.model import Admit
from sidecar.ports import Receiver

if TYPE_CHECKING:
    from sidecar.backends.upstream import Upstream


class Direct:
    """A `Sink` that gives a `ports.Receiver` what the client may see of an answer."""

    __slots__ = ("_admit", "_receiver", "_upstream", "sent")

    def __init__(self, upstream: Upstream, admit: Admit, receiver: Receiver) -> None:
        self.sent = time.monotonic()
        self._upstream = upstream
        self._admit = admit
        self._receiver = receiver

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on, but for the 100 that nobody on this lane waits for."""
        if head.status != 100:
            fields = self._upstream.rules.response_fields(head.headers)
            self._receiver.interim(head.status, head.reason, fields)

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """Pass a whole answer on."""
        self._upstream.telemetry.upstream(time.monotonic() - self.sent)
        self._receiver.whole(self._upstream.answer_head(head, self._admit), body)

    def head(self, head: ResponseHead) -> None:
        """Pass the head on."""
        self._upstream.telemetry.upstream(time.monotonic() - self.sent)
        self._receiver.head(self._upstream.answer_head(head, self._admit))

    def body(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        self._receiver.body(data)

    def flush(self) -> None:
        """Pass on that all has been told."""
        self._receiver.flush()

    def end(self) -> None:
        """Pass the end on."""
        self._receiver.end()

    def upgraded(self, _head: ResponseHead, transport: asyncio.Transport, _first: bytes, /) -> None:
        """Nobody on this lane asks for an upgrade, so no connection gives one."""
        transport.abort()

    def failed(self, failure: UpstreamFailure) -> None:
        """Pass a failure on."""
        self._receiver.failed(as_upstream_error(failure))
