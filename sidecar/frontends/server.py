"""The hardened server side of HTTP/1.1: one client connection, one request at a time.

Bytes behind the request being served are kept, not parsed: what is wrong with a later request waits until the answers
before it have been given. Refuses by itself what cannot be read in one way only (400, 405, 408, 431).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import uvicorn

from sidecar.frontends import tunnel
from sidecar.frontends.answer import Answer
from sidecar.frontends.exchange import Exchange
from sidecar.frontends.framing import BadRequest, ChunkedBody, LengthBody, RequestHead, find_head, parse_head
from sidecar.ports import Scope

PIPELINE_HIGH_WATER: Final = 64 * 1024
"""Bytes kept from behind the request being served before the client is no longer read."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the server waits, in seconds."""

    head: float = 10.0
    idle: float = 75.0
    body: float = 30.0
    unread: float = 75.0
    """For a client that does not read its answer."""
    linger: float = 5.0
    """For the client to close after this side did, while what it still sends is thrown away."""
    half_closed: float = 2.0
    """For the rest of an answer when the client has closed its sending side, and perhaps the other too."""
    last_call: float = 0.5
    """When stopping: for requests that are on their way on an idle connection."""


@dataclass(slots=True)
class Shared:
    """What all connections of a server share."""

    app: Any
    patience: Patience = field(default_factory=Patience)
    connections: set[HardenedProtocol] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    draining: bool = False


class HardenedConfig(uvicorn.Config):
    """A uvicorn configuration whose connections are hardened and that adds nothing to any answer."""

    def __init__(self, app: Any, *, patience: Patience | None = None) -> None:
        super().__init__(
            app,
            http=HardenedProtocol,
            ws="none",
            lifespan="auto",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self.shared = Shared(app, patience or Patience())


class HardenedProtocol(asyncio.Protocol):
    """One client connection. It takes uvicorn's place for protocols (`http=`), with a `HardenedConfig`."""

    def __init__(self, config: HardenedConfig, **_: object) -> None:
        shared = config.shared
        self.app = shared.app
        self.peer: str | None = None
        self.write_paused = False
        self._shared = shared
        self._patience = shared.patience
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment] # set before anything else happens
        self._scope: Scope = {}
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._reading_held = False
        self._half_closed = False
        self._closing = False
        self._tunnel: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._on_deadline: Callable[[], None] = self._abort
        self._unread_deadline: float | None = None
        self._writable: asyncio.Future[None] | None = None

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self._shared.connections.add(self)
        client = _address(transport.get_extra_info("peername"))
        self.peer = client[0] if client else None
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "scheme": "http",
            "root_path": "",
            "server": _address(transport.get_extra_info("sockname")),
            "client": client,
        }
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes for the body being read, or for a head."""
        if self._closing:
            return
        if self._body is not None:
            data = self._take_body(data)
            if not data:
                return
        self._buffer = self._buffer + data if self._buffer else data
        if self._exchange is None:
            self._next()
        elif len(self._buffer) > PIPELINE_HIGH_WATER:
            self.hold_reading()

    def eof_received(self) -> bool:
        """The client sends no more. What it has sent is still answered, for a while: it may have gone altogether."""
        self._half_closed = True
        if self._closing or self._exchange is None:
            return False
        if self._body is not None:
            self._exchange.lose_client()
            return False
        self._wait(self._patience.half_closed, self._abort)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- a reset and an end mean the same here
        """Tell the application, if it still serves a request of this client."""
        self._shared.connections.discard(self)
        self._closing = True
        self._deadline = self._unread_deadline = None
        exchange, self._exchange = self._exchange, None
        self.resume_writing()
        if exchange is not None:
            exchange.lose_client()

    def pause_writing(self) -> None:
        """The client reads slower than the answer comes."""
        self.write_paused = True
        self._unread_deadline = self._loop.time() + self._patience.unread

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        self._unread_deadline = None
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What the exchange asks for

    def write(self, data: bytes) -> None:
        """Write to the client."""
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough for more to be written, or has gone."""
        if self._writable is None:
            self._writable = self._loop.create_future()
        try:
            await asyncio.shield(self._writable)
        finally:
            if not self.write_paused:
                self._writable = None

    def hold_reading(self) -> None:
        """Read no more from the client for now."""
        if not self._reading_held and not self._transport.is_closing():
            self._reading_held = True
            self._transport.pause_reading()

    def release_reading(self) -> None:
        """Read on, unless too much is kept already."""
        if self._reading_held and len(self._buffer) <= PIPELINE_HIGH_WATER and not self._transport.is_closing():
            self._reading_held = False
            self._transport.resume_reading()

    def expect_body(self, *, waiting: bool) -> None:
        """Begin or cease to wait for a piece of the body."""
        if waiting:
            self._wait(self._patience.body, self._body_timed_out)
        elif self._on_deadline == self._body_timed_out:
            self._deadline = None

    def is_last(self) -> bool:
        """Whether no request will be taken after the one being served."""
        return self._shared.draining and b"\r\n\r\n" not in self._buffer

    def answered(self, *, closes: bool) -> None:
        """The answer is complete; go on to the next request, or close."""
        if closes:
            self._close_after_answer()
            return
        self._exchange = None
        if self._reading_held:
            self.release_reading()
        self._next()

    def break_off(self, *, hard: bool) -> None:
        """Close at once. `hard` makes it a reset, which no client takes for the regular end of an answer."""
        self._closing = True
        if not hard:
            self._transport.close()
            self._wait(self._patience.linger, self._abort)
            return
        client = self._transport.get_extra_info("socket")
        if client is not None and client.family != socket.AF_UNIX:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    async def tunnel(self, upstream: asyncio.Transport, first: bytes) -> None:
        """Hand the connection over to a tunnel; returns when that has ended."""
        self._tunnel = asyncio.current_task()
        self._deadline = None
        self._transport.write(first)
        upstream.write(self._buffer)
        self._buffer = b""
        self.release_reading()
        try:
            await tunnel.join(self._transport, upstream)
        finally:
            self.connection_lost(None)

    # What the server asks for

    def sweep(self, now: float) -> None:
        """Act on what is overdue. One timer for all connections is cheaper than one for each request."""
        if self._unread_deadline is not None and now >= self._unread_deadline:
            self._transport.abort()
        elif self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._on_deadline()
        elif self._shared.draining and self._exchange is not None and self._exchange.is_event_stream:
            self._exchange.end_event_stream()

    def drain_connection(self) -> None:
        """Begin to stop: end what would never end, and take no new request but those on their way."""
        if self._tunnel is not None:
            self._tunnel.cancel()
        elif self._exchange is None:
            self._wait(self._patience.last_call, self._close)
        self.sweep(self._loop.time())

    def abort(self) -> None:
        """Close at once, whatever is in flight."""
        if self._tunnel is not None:
            self._tunnel.cancel()
        else:
            self._transport.abort()

    # Requests

    def _next(self) -> None:
        """Serve the next request, if its head is there."""
        try:
            end = find_head(self._buffer) if self._buffer else 0
            if end:
                head = parse_head(self._buffer[:end])
        except BadRequest as error:
            self._refuse(error)
            return
        if end:
            self._buffer = self._buffer[end:]
            self._begin(head)
        elif self._half_closed:
            self._close()
        else:
            self._wait_for_request()

    def _wait_for_request(self) -> None:
        if self._shared.draining:
            if self._deadline is None or self._on_deadline != self._close:
                self._wait(self._patience.last_call, self._close)
        elif not self._buffer:
            self._wait(self._patience.idle, self._close)
        elif self._on_deadline != self._head_timed_out:
            self._wait(self._patience.head, self._head_timed_out)

    def _begin(self, head: RequestHead) -> None:
        """Hand a request to the application."""
        self._deadline = None
        self._on_deadline = self._abort
        if self._half_closed:
            self._wait(self._patience.half_closed, self._abort)
        exchange = Exchange(self, head, self._make_scope(head), self._loop.time())
        self._exchange = exchange
        if head.has_body:
            self._body = ChunkedBody() if head.chunked else LengthBody(head.length)
            if self._buffer:
                data, self._buffer = self._buffer, b""
                self._buffer = self._take_body(data)
                if self._closing:
                    return
        task = self._loop.create_task(exchange.run())
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    def _make_scope(self, head: RequestHead) -> Scope:
        path, _, query = _origin_form(head.target).partition(b"?")
        text = path.decode("ascii")
        return {
            **self._scope,
            "http_version": head.version,
            "method": head.method,
            "path": urllib.parse.unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "headers": head.headers,
        }

    def _take_body(self, data: bytes) -> bytes:
        """Feed the body being read; give what comes after it."""
        body, exchange = self._body, self._exchange
        assert body is not None and exchange is not None  # noqa: S101, PT018 # for the type checker: there is a body
        try:
            piece, rest = body.take(data)
        except BadRequest as error:
            self._body = None
            exchange.lose_client()
            if exchange.answering:
                exchange.break_off()
            else:
                self._refuse(error)
            return b""
        if body.complete:
            self._body = None
        exchange.feed(piece, complete=body.complete)
        return rest

    def _refuse(self, error: BadRequest) -> None:
        """Answer in the application's place and close."""
        text = f"{error.detail}\n".encode("ascii")
        headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"%d" % len(text))]
        answer = Answer("", "1.1", error.status, None, headers, closes=True)
        self._transport.write(answer.head + text)
        self._close_after_answer()

    # Ends

    def _close_after_answer(self) -> None:
        """Close this side, then read what still comes: a reset could take the answer from the client's hands."""
        self._closing = True
        self._exchange = None
        self._body = None
        self._buffer = b""
        self.release_reading()
        if self._half_closed or self._transport.is_closing() or not self._transport.can_write_eof():
            self._close()
        else:
            self._transport.write_eof()
            self._wait(self._patience.last_call if self._shared.draining else self._patience.linger, self._close)

    def _close(self) -> None:
        """Close when all is written, and if that never happens, anyway."""
        self._closing = True
        self._transport.close()
        self._wait(self._patience.unread, self._abort)

    def _abort(self) -> None:
        self._transport.abort()

    def _head_timed_out(self) -> None:
        self._refuse(BadRequest(408, "the head of the request did not come in time"))

    def _body_timed_out(self) -> None:
        if self._exchange is not None:
            self._exchange.fail_body(TimeoutError("the rest of the request body did not come in time"))

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._deadline = self._loop.time() + seconds
        self._on_deadline = then


def _address(name: object) -> tuple[str, int] | None:
    """Give host and port of a TCP address; a Unix socket has none."""
    return (name[0], name[1]) if isinstance(name, tuple) else None


def _origin_form(target: bytes) -> bytes:
    """Give path and query of a target, without the scheme and authority of the absolute form, and no fragment."""
    target = target.partition(b"#")[0]
    if target.startswith(b"/") or target == b"*":
        return target
    authority_and_path = target.partition(b"://")[2]
    slash, question = authority_and_path.find(b"/"), authority_and_path.find(b"?")
    if slash < 0 or 0 <= question < slash:
        return b"/" + (authority_and_path[question:] if question >= 0 else b"")
    return authority_and_path[slash:]
