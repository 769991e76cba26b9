"""The wire of a request under a foreign ASGI server, made from its scope: the forwarder needs no more to work.

What ASGI does not pass on is given up, as docs/users/transparency.md lists: the case of field names, the form of the
target, reason phrases, interim responses and tunnels.
"""

# ruff: noqa: ARG002 # a wire takes what the port says, whether ASGI has a use for it or not

from __future__ import annotations

import asyncio
import urllib.parse
from time import monotonic
from typing import Final, Self

from starlette.types import Message, Receive, Scope, Send

from sidecar.http.ports import Served, Wire, WireHead
from sidecar.model import Headers

_PATH_SAFE: Final = "/:@!$&'()*+,;=~-._"


class ResponseCut(Exception):
    """The upstream's response ended early. The server closes the connection, as the response has begun."""


class AsgiWire(Wire):
    """A wire over a bare scope, in a `with` block. Its `receive` and `send` take the place of the server's."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.head = _head_of(scope)
        client = scope.get("client")
        self.peer: str | None = client[0] if client else None
        self.arrived = monotonic()
        self.wants_messages = True
        self._receive = receive
        self._send = send
        self.body_complete = not self.head.has_body
        self.response: Served | None = None
        self.gone = False
        self._watcher: asyncio.Task[None] | None = None

    @property
    def body_arrived(self) -> bool:
        """False: under ASGI the body is there only when it is received."""
        return False

    async def receive(self) -> Message:
        """Give the next message of the request."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.body_complete = True
            self._watch()
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response, without what only our own server understands. The server frames the body."""
        if message["type"] == "http.response.start":
            headers = [field for field in message["headers"] if field[0].lower() != b"transfer-encoding"]
            message = {"type": "http.response.start", "status": message["status"], "headers": headers}
        await self._send(message)

    def __enter__(self) -> Self:
        """Begin to watch for the disconnect."""
        self._watch()
        return self

    def __exit__(self, *_: object) -> None:
        """Cease to watch for the disconnect."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def yield_continue(self) -> bool:
        """Say that no `100 Continue` is due: the server sends it by itself."""
        return False

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Drop an interim response: ASGI cannot send any."""

    def break_off(self) -> None:
        """Raise ResponseCut, upon which a server breaks the connection."""
        raise ResponseCut("the upstream's response ended early")

    async def tunnel(self, reason: bytes, headers: Headers, upstream: asyncio.Transport, first: bytes) -> None:
        """Give up a connection that switched protocols although nothing asked for it. Raises ResponseCut."""
        upstream.abort()
        raise ResponseCut("the upstream switched protocols")

    def _watch(self) -> None:
        """Wait for the disconnect, once the request is complete: before that, its pieces are being received."""
        if self.body_complete and self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self.response is not None:
            self.response.lose_client()


def _head_of(scope: Scope) -> WireHead:
    head = WireHead(scope["method"], target_of(scope), scope["headers"])
    head.raw_headers = head.headers
    fields = dict(head.raw_headers)
    head.has_host = b"host" in fields
    head.chunked = b"transfer-encoding" in fields
    if not head.chunked and b"content-length" not in fields and scope.get("http_version", "1.1") > "1.1":
        # HTTP/2 and later need not declare a body in the head (RFC 9113, section 8.1.1).
        head.chunked = True
        head.raw_headers = [*head.raw_headers, (b"transfer-encoding", b"chunked")]
    head.has_body = head.chunked or int(fields.get(b"content-length", b"0")) > 0
    return head


def target_of(scope: Scope) -> bytes:
    """Give the request target in origin form (RFC 9112, section 3.2.1), as it was sent if the server keeps it."""
    raw: bytes | None = scope.get("raw_path")
    if not raw:
        raw = urllib.parse.quote(scope["path"], safe=_PATH_SAFE).encode("ascii")
    path = raw.partition(b"?")[0]  # some servers leave the query in `raw_path`
    query = scope.get("query_string", b"")
    return b"%b?%b" % (path, query) if query else path


def routed_target(scope: Scope, target: bytes) -> bytes | None:
    """Give the target that an application routes by, where it is another than the one of the request; else None.

    It routes by what stands below `root_path`, with which `path` and `target` begin (ASGI, HTTP version 2.3 and later),
    and by a `path` that a layer before it has changed, as it often does without a change of `raw_path`.
    """
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    inside = path.removeprefix(root)
    raw = target.partition(b"?")[0]
    if urllib.parse.unquote(raw.decode("latin-1")) == path:
        if inside == path:
            return None
        prefix = urllib.parse.quote(root, safe=_PATH_SAFE).encode("ascii")
        if target.startswith(prefix):
            return _with_path(target[len(prefix) :])
    query: bytes = scope.get("query_string", b"")
    routed = urllib.parse.quote(inside, safe=_PATH_SAFE).encode("ascii")
    return _with_path(b"%b?%b" % (routed, query) if query else routed)


def _with_path(target: bytes) -> bytes:
    return b"/" + target if target[:1] in (b"", b"?") else target
