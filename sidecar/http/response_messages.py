"""A response as ASGI messages, where the client's connection is not ours or a layer on the way reads the messages.

Calls become messages here, and the messages of an application become calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from starlette.types import Message, Send

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.response import UpstreamError
from sidecar.http.framing import ForwardedHead, read_framing
from sidecar.http.ports import ResponseClient, Wire
from sidecar.model import Headers

HIGH_WATER: Final = 128 * 1024
"""Bytes of a body that wait to be sent before the upstream is no longer read."""


class ResponseMessages(ResponseClient):
    """Holds what comes until `send` has taken what came before."""

    def __init__(self, wire: Wire, send: Send) -> None:
        self._wire = wire
        self._send = send
        self._line: UpstreamConnection | None = None
        self._head: ForwardedHead | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._has_ended = False
        self._waiter: asyncio.Future[None] | None = None

    async def pass_on(self, over: asyncio.Future[Exception | None]) -> None:
        """Send what comes until the response is `over` and all of it is sent. Raises what `send` raises."""
        over.add_done_callback(lambda _over: self._wake())
        while not (over.done() and self._head is None and not self._pieces and not self._has_ended):
            if self._head is not None:
                await self._send_head(self._head)
            elif self._pieces or self._has_ended:
                await self._send_pieces()
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter

    # Calls of the response: ports.ResponseClient

    def follow(self, line: UpstreamConnection) -> None:
        """Hold `line` back while too much waits to be sent."""
        self._line = line

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send an interim response, where the wire can."""
        self._wire.inform(status, reason, headers)

    def whole(self, head: ForwardedHead, body: bytes) -> None:
        """Hold a whole response; the upstream connection serves other requests already."""
        self._line = None
        self.begin(head)
        self.piece(body)
        self.end()

    def begin(self, head: ForwardedHead) -> None:
        """Hold the head."""
        self._head = head

    def piece(self, data: bytes) -> None:
        """Hold a piece of the body."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held > HIGH_WATER and self._line is not None:
            self._line.hold_reading()

    def flush(self) -> None:
        """Have what is held sent."""
        self._wake()

    def end(self) -> None:
        """Note the end; the upstream connection serves other requests from now on."""
        self._line = None
        self._has_ended = True
        self._wake()

    def fail(self, failure: UpstreamError) -> None:  # noqa: ARG002 # the forwarder gets it too, and raises it
        """Hold no upstream back any more; what is held is still sent."""
        self._line = None

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the request."""
        return asyncio.get_running_loop().create_task(work)

    async def _send_head(self, head: ForwardedHead) -> None:
        self._head = None
        start = {
            "type": "http.response.start",
            "status": head.status,
            "reason": head.reason,
            "headers": list(head.headers),
            "framing": head.framing,
            "body_follows": bool(self._pieces) or self._has_ended,
        }
        await self._send(start)

    async def _send_pieces(self) -> None:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        more, self._has_ended = not self._has_ended, False
        self._pieces = []
        self._held = 0
        if self._line is not None:
            self._line.release_reading()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def write_message(message: Message, client: ResponseClient, *, has_begun: bool, is_over: bool) -> None:
    """Make the calls that a message of a response stands for; `has_begun` and `is_over` are the response's state.

    Raises RuntimeError for a message that may not come in this state.
    """
    kind = message["type"]
    if kind == "http.response.start" and not has_begun:
        headers = message.get("headers", ())
        framing = message.get("framing") or read_framing(headers)
        client.begin(ForwardedHead(message["status"], message.get("reason"), headers, framing))
        if not message.get("body_follows", False):
            client.flush()
    elif kind == "http.response.body" and has_begun and not is_over:
        client.piece(message.get("body", b""))
        if message.get("more_body", False):
            client.flush()
        else:
            client.end()
    else:
        raise RuntimeError(f"unexpected ASGI message {kind!r}")
