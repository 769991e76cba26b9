"""What ASGI doors share: the heads of requests under foreign servers, and the sidecar's own complete responses."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope, Send

from sidecar.doors.refusal import Response, identified
from sidecar.extract.extractor import Classification, Extractor, NothingGuarded
from sidecar.http.asgi_wire import routed_target, target_of
from sidecar.model import Head
from sidecar.request_context import enter_request

PERMIT: Final = "session_guard"
"""Where the permit of an admitted request stands in its ASGI scope."""


def classify_foreign(scope: Scope, extractor: Extractor | NothingGuarded) -> tuple[Head, Classification | None]:
    """Classify a request that came by a foreign server; gives the head that it was classified by, too.

    Where the application is mounted below a path, or a layer before it has changed the path, the profile may name
    the whole target or of what the application routes by: no rule for the first lets the second pass.
    """
    head = _head_of(scope)
    enter_request(head)
    classification = extractor.classify(head)
    routed = routed_target(scope, head.target) if classification is None else None
    if routed is None or extractor.has_rule(head):
        return head, classification
    head = Head(head.method, routed, head.headers)
    return head, extractor.classify(head)


def _head_of(scope: Scope) -> Head:
    """Give the head of a request that came by a foreign server: field names in lower case.

    A WebSocket handshake is a GET that asks for an upgrade (RFC 6455, section 4.1), also where it came over HTTP/2 and
    has no `Upgrade` field (RFC 8441, section 5).
    """
    target = target_of(scope)
    if scope["type"] == "websocket":
        fields = [(name.lower(), value) for name, value in scope["headers"] if name.lower() != b"upgrade"]
        return Head("GET", target, [*fields, (b"upgrade", b"websocket")])
    return Head(scope["method"], target, scope["headers"])


async def respond(scope: Scope, send: Send, response: Response) -> None:
    """Send a complete response with the id of its request.

    A WebSocket handshake gets it as its denial, where the server can send one.
    """
    response = identified(response)
    prefix = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        prefix = "websocket.http"
    await send({"type": f"{prefix}.response.start", "status": response.status, "headers": list(response.headers)})
    await send({"type": f"{prefix}.response.body", "body": response.body})
