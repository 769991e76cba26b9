"""One request to an ASGI application as the server would put it, without a server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import Message, Scope

from sidecar.http.ports import WIRE, Wire, WireHead
from sidecar.model import Extraction


class _Wire(Wire):
    """What the application itself asks of the wire."""

    def __init__(self, head: WireHead) -> None:
        self.head = head
        self.extraction: Extraction | None = None


@dataclass
class Request:
    """A request in pieces; `asked` counts how often the application wanted a piece of the body."""

    method: str = "POST"
    target: str = "/"
    pieces: tuple[bytes, ...] = (b"",)
    headers: Iterable[tuple[str, str]] = ()
    complete: bool = True
    asked: int = 0
    sent: list[Message] = field(default_factory=list)

    @property
    def scope(self) -> Scope:
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers]
        wire = _Wire(WireHead(self.method, self.target.encode(), headers))
        return {"type": "http", "method": self.method, "headers": headers, WIRE: wire}

    async def receive(self) -> Message:
        """Give the next piece; a client that is not `complete` goes away before the last."""
        piece = self.asked
        self.asked += 1
        if piece >= len(self.pieces):
            return {"type": "http.disconnect"}
        more = piece + 1 < len(self.pieces) or not self.complete
        return {"type": "http.request", "body": self.pieces[piece], "more_body": more}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def response_headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def json(self) -> Any:
        return orjson.loads(b"".join(message.get("body", b"") for message in self.sent[1:]))
