"""MCP over streamable HTTP, for every kind of client at one address.

A client that initializes gets a transport session; one that does not, or speaks a revision that has none, is served
all the same; one that accepts no event stream is answered in JSON. The SDK's check of Host and Origin is off: requests
arrive through proxies that pass on any Host that their clients used.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from service_kit.process.serving import ENDLESS

_OPENING: Final = "initialize"
_NO_LIMIT: Final = sys.maxsize
"""`service_kit.web.body` bounds all bodies, and the application answers a problem; the SDK would answer plain text."""


class McpDoor:
    """An ASGI application that gives each request to the one of the SDK's managers that serves its kind of client."""

    def __init__(self, server: Server[Any], max_body: int) -> None:
        """`max_body` is the largest body that `receive` gives, in bytes."""
        self._with_session = StreamableHTTPSessionManager(server, max_request_body_size=max_body)
        self._stateless = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=max_body)
        self._in_json = StreamableHTTPSessionManager(
            server, stateless=True, json_response=True, max_request_body_size=max_body
        )
        self._app = RequestBodyLimitMiddleware(self._enter, _NO_LIMIT)
        self._streams: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """The time during which requests are served."""
        async with self._with_session.run(), self._stateless.run(), self._in_json.run():
            yield

    def end_streams(self) -> None:
        """End the event streams that clients keep open for messages of the server."""
        for stream in self._streams:
            stream.cancel()

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The middleware above has read the whole body: it is the first message, to be looked at and given again."""
        first = await receive()

        async def again() -> Message:
            nonlocal first
            message, first = first, {}
            return message or await receive()

        manager = self._manager(Request(scope), first.get("body", b""))
        if scope["method"] == "GET":
            await self._until_stopped(manager, scope, again, send)
        else:
            await manager.handle_request(scope, again, send)

    def _manager(self, request: Request, body: bytes) -> StreamableHTTPSessionManager:
        _, accepts_events = check_accept_headers(request)
        if request.method == "POST" and not accepts_events:
            return self._in_json
        in_session = request.method != "POST" or MCP_SESSION_ID_HEADER in request.headers or _opens_a_session(body)
        return self._with_session if in_session else self._stateless

    async def _until_stopped(
        self, manager: StreamableHTTPSessionManager, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a stream, and give it a proper end where it is stopped half way."""
        scope[ENDLESS] = True
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        with anyio.CancelScope() as stream:
            self._streams.add(stream)
            try:
                await manager.handle_request(scope, receive, watched)
            finally:
                self._streams.discard(stream)
        if stream.cancelled_caught and started:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _opens_a_session(body: bytes) -> bool:
    if f'"{_OPENING}"'.encode() not in body:
        return False
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and message.get("method") == _OPENING
