"""Both ends of the wire for tests: an upstream that records every byte, a sidecar that admits all, raw clients."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.fast_path.protocol import FastPathProtocol
from sidecar.doors.refusal import Response
from sidecar.extract.extractor import Classification
from sidecar.guard.guard import ImmediateGuard
from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.ports import Telemetry
from sidecar.http.client.forwarder import Forwarder
from sidecar.http.client.response import UpstreamError, UpstreamFailure
from sidecar.http.client.upstream import Upstream
from sidecar.http.server.connection import Timeouts
from sidecar.http.server.hosting import Hosting, HostingProtocol
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.server import Server
from sidecar.http.server.serving import Shared
from sidecar.model import Call, Extraction, Grounds, Head, RefusalFormat
from sidecar.testing import permit
from tests.support.eventually import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ADMIT = permit(Grounds.PASSED)


def permit_while(still_valid: Callable[[], bool]) -> Permit:
    """Give a permit that is valid as long as `still_valid` says so."""
    return Permit(SEAL, Grounds.PASSED, Extraction(RefusalFormat.REST, (Call(),)), lambda _extraction: still_valid())


@dataclass
class Seen:
    """One request as an upstream saw it, head and body as raw bytes, chunk framing included."""

    head: bytes
    reader: asyncio.StreamReader
    body: bytes = b""

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: str) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]


Answer = Callable[[Seen, asyncio.StreamWriter], Awaitable[None] | bytes | None]


@dataclass
class RawUpstream:
    """A server on raw sockets: `answer` gives the bytes of each answer, or writes them itself."""

    answer: Answer
    read_body: bool = True
    seen: list[Seen] = field(default_factory=list)
    open: int = 0
    accepted: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.accepted += 1
        try:
            while True:
                seen = Seen(await reader.readuntil(b"\r\n\r\n"), reader)
                if self.read_body:
                    seen.body = await read_raw_body(seen)
                self.seen.append(seen)
                answer = self.answer(seen, writer)
                if inspect.isawaitable(answer):
                    answer = await answer
                if isinstance(answer, bytes):
                    writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


async def read_raw_body(seen: Seen) -> bytes:
    reader = seen.reader
    if seen.values("transfer-encoding"):
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line, 16)
            body += line + await reader.readexactly(size + 2)
            if not size:
                return body
    lengths = seen.values("content-length")
    return await reader.readexactly(int(lengths[0])) if lengths else b""


@contextlib.asynccontextmanager
async def raw_upstream(answer: Answer | bytes = OK, *, read_body: bool = True) -> AsyncIterator[RawUpstream]:
    """Run a raw upstream, all connections of which are closed at the end.

    `answer` may be the bytes that answer everything.
    """
    fixed = answer
    upstream = RawUpstream((lambda *_: fixed) if isinstance(fixed, bytes) else fixed, read_body)
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[asyncio.create_task(upstream.serve(reader, writer))] = writer

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        # What was accepted before is told in the next turn of the loop.
        await asyncio.sleep(0)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for writer in serving.values():
            # One that a task closed may still wait for its client to read.
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await server.wait_closed()


class BreaksUnderTheSecond:
    """Answers every request but the second, under which it breaks the connection: one that went stale in the pool."""

    def __init__(self) -> None:
        self.counted = 0

    async def __call__(self, _seen: Seen, writer: asyncio.StreamWriter) -> bytes | None:
        self.counted += 1
        if self.counted == 2:
            writer.transport.abort()
            return None
        return OK


@dataclass
class Running:
    """A sidecar that runs in this loop."""

    server: Server
    upstream: Upstream
    port: int
    serving: asyncio.Task[int]
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def quiet(self) -> None:
        """Wait until nothing is in flight; fails where something was left over."""
        shared = self.server.shared
        await eventually(lambda: not shared.tasks)
        counts = self.upstream.connections()
        await eventually(lambda: self.upstream.connections()["active"] == 0)
        assert counts["waiting"] == 0


App = Callable[[Scope, Receive, Send], Awaitable[None]]


def admitting(upstream: Upstream, still_valid: Callable[[Scope], bool] = lambda _scope: True) -> App:
    """Forward everything that `still_valid` lets go once it had to wait; say in plain text why something was not."""

    forwarder = Forwarder(upstream)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await forwarder.forward(permit_while(lambda: still_valid(scope)), scope, receive, send)
        except UpstreamError as error:
            status, text = failure(error)
            headers = [(b"Content-Length", b"%d" % len(text))]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": text})

    return app


class Admitting(ImmediateGuard):
    """Extractor and guard of `admitting` for the fast path: no rule looks at anything."""

    def classify(self, _head: Head) -> Classification | None:
        return None

    def pass_through(self) -> Permit:
        return ADMIT

    def permit_known(self, extraction: Extraction) -> Permit | None:
        return ADMIT


def admitting_fast_path(upstream: Upstream) -> FastPath:
    """The fast path beside `admitting`."""
    door = Admitting()
    return FastPath(door.classify, door, upstream, in_plain_text, BodyBudget(limit=1 << 20, total=1 << 20))


def in_plain_text(_extraction: Extraction | None, error: UpstreamError) -> Response:
    """Answer a failure as `admitting` does."""
    status, text = failure(error)
    return Response(status, [(b"Content-Length", b"%d" % len(text))], text)


def failure(error: UpstreamError) -> tuple[int, bytes]:
    """Give status and text of a failure."""
    reason = error.reason.value
    return {"upstream_timeout": 504, "overloaded": 503, "body_timeout": 408}.get(reason, 502), reason.encode()


def _fast_path_of(app: Callable[[Upstream], App]) -> Callable[[Upstream], FastPath]:
    """The fast path that belongs to an application: that of the object it is a method of, where there is one."""
    owner = getattr(app, "__self__", None)
    return getattr(owner, "fast_path", admitting_fast_path)


@contextlib.asynccontextmanager
async def running(
    url: str,
    *,
    app: Callable[[Upstream], App] = admitting,
    patience: Timeouts | None = None,
    drain_timeout: float = 10.0,
    fast_path: bool = False,
    hosted: bool = False,
    parts: Callable[[Upstream], FastPath] | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """Run a sidecar in front of `url`; it is stopped, and must stop, at the end.

    With `fast_path` it serves by the fast path too, and a free connection is there to begin with; with `hosted`
    it serves the application as `wrap` does.
    """
    upstream = Upstream(url, telemetry=Telemetry(), **options)
    served: Any = app(upstream)
    hosting = Hosting(served) if hosted else None
    connect: Callable[[Shared], HardenedProtocol] = HardenedProtocol
    if hosting is not None:
        connect = functools.partial(HostingProtocol, hosting=hosting)
    elif fast_path:
        connect = functools.partial(FastPathProtocol, path=(parts or _fast_path_of(app))(upstream))
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    port = listener.getsockname()[1]
    ready = asyncio.Event()
    server = Server(
        served,
        listener,
        drain_timeout=drain_timeout,
        patience=patience,
        connect=connect,
        on_ready=ready.set,
        handle_signals=False,
        hosting=hosting,
    )
    serving = asyncio.create_task(server.run_until_stopped())
    try:
        await ready.wait()
        if fast_path:
            with contextlib.suppress(UpstreamFailure):
                upstream.pool.release(await upstream.pool.acquire())
        yield Running(server, upstream, port, serving)
    finally:
        server.stop()
        server.stop()
        await serving
        await upstream.close()


@dataclass
class RawClient:
    """A connection on which tests write and read bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self, *, method: str = "GET") -> Answered:
        """Read one whole answer (but not its 1xx predecessors)."""
        return await read_answer(self.reader, method=method)

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Close with a reset instead of a regular end."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.writer.transport.abort()


@dataclass
class Answered:
    """One answer as a client saw it; `body` is decoded, `complete` says whether its framing was kept."""

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    complete: bool = True

    def values(self, name: str) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]


async def read_answer(reader: asyncio.StreamReader, *, method: str = "GET") -> Answered:
    head = await reader.readuntil(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")[:-2]
    _, status, reason = line.split(b" ", 2)
    fields = [(name, value.strip()) for name, _, value in (each.partition(b":") for each in lines)]
    answer = Answered(int(status), reason, fields)
    if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
        return answer
    try:
        if answer.values("transfer-encoding"):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                answer.body += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        elif lengths := answer.values("content-length"):
            answer.body = await reader.readexactly(int(lengths[0]))
        else:
            answer.body = await reader.read()
    except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
        answer.complete = False
        if isinstance(error, asyncio.IncompleteReadError):
            answer.body += error.partial
    return answer


@contextlib.asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    """Connect; the connection is closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        await client.close()


async def ask(port: int, request: bytes, *, method: str = "GET") -> Answered:
    """Send one request on a connection of its own and read its answer."""
    async with raw_client(port) as client:
        await client.send(request)
        return await client.answer(method=method)


def get(target: str = "/", *fields: str, method: str = "GET") -> bytes:
    """Write a request without a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: memory.example", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(target: str = "/", body: bytes = b"{}", *fields: str, method: str = "POST") -> bytes:
    """Write a request with a body of declared length, JSON where the fields say nothing else."""
    if not any(line.lower().startswith("content-type:") for line in fields):
        fields = ("Content-Type: application/json", *fields)
    return get(target, f"Content-Length: {len(body)}", *fields, method=method) + body
