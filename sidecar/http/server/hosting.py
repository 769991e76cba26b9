"""The server side of HTTP/1.1 for an application that is hosted here, not forwarded to: lifespan and WebSockets.

Both are uvicorn's. A WebSocket handshake is handed over, connection and all, to the protocol that uvicorn has for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from starlette.types import Scope
from uvicorn.server import ServerState

from sidecar.http.headers import encode_fields, upgrade_options
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.request_head import BadRequest, RequestHead
from sidecar.http.server.serving import Shared


class Hosting:
    """What an application gets beside requests: its lifespan, and WebSockets where a library for them is installed."""

    def __init__(self, app: Any) -> None:
        self._config = uvicorn.Config(
            app,
            ws="auto",
            lifespan="auto",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self._lifespan = self._config.lifespan_class(self._config)
        self._websockets = ServerState()

    @property
    def takes_websockets(self) -> bool:
        """Whether a library for WebSockets is installed."""
        return self._config.ws_protocol_class is not None

    @property
    def state(self) -> dict[str, Any]:
        """The state that the application left in its lifespan."""
        state: dict[str, Any] = self._lifespan.state
        return state

    @property
    def is_serving(self) -> bool:
        """Whether any WebSocket, or the application's part of it, is not over."""
        return bool(self._websockets.connections or self._websockets.tasks)

    async def start(self) -> bool:
        """Start the application; False where it fails to, which is logged."""
        await self._lifespan.startup()
        return not self._lifespan.should_exit

    async def stop(self) -> None:
        """Stop the application."""
        await self._lifespan.shutdown()

    def websocket_protocol(self) -> Any:
        """Make the protocol of one WebSocket connection."""
        protocol: Any = self._config.ws_protocol_class
        return protocol(config=self._config, server_state=self._websockets, app_state=self.state)

    def close_websockets(self) -> None:
        """Close each WebSocket with 1012, service restart; one that is not open yet is denied with 500."""
        for connection in list(self._websockets.connections):
            connection.shutdown()

    async def abandon_websockets(self) -> None:
        """Leave no WebSocket behind: connections are aborted, and the application's tasks cancelled."""
        for connection in list(self._websockets.connections):
            connection.transport.abort()
        tasks = list(self._websockets.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class HostingProtocol(HardenedProtocol):
    """One client connection of a hosted application."""

    __slots__ = ("_hosting",)

    def __init__(self, shared: Shared, hosting: Hosting) -> None:
        super().__init__(shared)
        self._hosting = hosting

    def _scope_of(self, head: RequestHead) -> Scope:
        """Give each request its own fields, and a copy of the lifespan state (ASGI lifespan, version 2.0)."""
        return {**super()._scope_of(head), "headers": list(head.headers), "state": self._hosting.state.copy()}

    def _begin(self, head: RequestHead) -> None:
        if not (head.upgrade and _asks_for_websocket(head) and self._hosting.takes_websockets):
            self._begin_application(head)
        elif self.shared.draining:
            self._refuse(BadRequest(503, "the server is stopping"))
        else:
            self._switch_to_websocket(head)

    def _switch_to_websocket(self, head: RequestHead) -> None:
        """Let the WebSocket protocol have the connection; it finds the handshake as if it had just arrived."""
        self.release_reading()
        self._deadline = None
        self.shared.connections.discard(self)
        line = b"GET %b HTTP/1.1\r\n" % head.target
        handshake = b"%b%b\r\n%b" % (line, encode_fields(head.headers), self._buffer)
        self._buffer = b""
        protocol = self._hosting.websocket_protocol()
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(handshake)


def _asks_for_websocket(head: RequestHead) -> bool:
    return any(option.lower() == b"websocket" for value in head.values(b"upgrade") for option in upgrade_options(value))
