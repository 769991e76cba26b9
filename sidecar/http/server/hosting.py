"""The server side of HTTP/1.1 for an application that is hosted here, not forwarded to: lifespan state and WebSockets.

A WebSocket handshake is handed over, connection and all, to the protocol that uvicorn has for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Scope
from uvicorn.server import ServerState

from sidecar.http.headers import encode_fields, upgrade_options
from sidecar.http.server.protocol import HardenedConfig, HardenedProtocol
from sidecar.http.server.request_head import BadRequest, RequestHead


class HostingProtocol(HardenedProtocol):
    """One client connection of a hosted application."""

    def __init__(
        self, config: HardenedConfig, *, server_state: ServerState, app_state: dict[str, Any], **_: object
    ) -> None:
        super().__init__(config)
        self._config = config
        self._server_state = server_state
        self._app_state = app_state

    def _scope_of(self, head: RequestHead) -> Scope:
        """Give each request a copy of the lifespan state (ASGI lifespan, version 2.0)."""
        return {**super()._scope_of(head), "state": self._app_state.copy()}

    def _begin(self, head: RequestHead) -> None:
        if not (head.upgrade and _asks_for_websocket(head) and self._config.ws_protocol_class):
            super()._begin(head)
        elif self._shared.draining:
            self._refuse(BadRequest(503, "the server is stopping"))
        else:
            self._hand_over(head, self._config.ws_protocol_class)

    def _hand_over(self, head: RequestHead, protocol_class: Any) -> None:
        """Let the WebSocket protocol have the connection; it finds the handshake as if it had just arrived."""
        self.release_reading()
        self._deadline = None
        self._shared.connections.discard(self)
        line = b"GET %b HTTP/1.1\r\n" % head.target
        handshake = b"%b%b\r\n%b" % (line, encode_fields(head.headers), self._buffer)
        self._buffer = b""
        protocol: Any = protocol_class(
            config=self._config, server_state=self._server_state, app_state=self._app_state, _loop=self.loop
        )
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(handshake)


def _asks_for_websocket(head: RequestHead) -> bool:
    return any(option.lower() == b"websocket" for value in head.values(b"upgrade") for option in upgrade_options(value))


def close_websockets(state: ServerState) -> None:
    """Close each WebSocket with 1012, service restart; one that is not open yet is denied with 500."""
    for connection in list(state.connections):
        connection.shutdown()


async def abandon_websockets(state: ServerState) -> None:
    """Leave no WebSocket behind: connections are aborted, and the application's tasks cancelled."""
    for connection in list(state.connections):
        connection.transport.abort()
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
