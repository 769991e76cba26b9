"""What is forwarded is one request to every server behind the sidecar, with every method, fields and timing.

The upstreams are real servers, each in a process of its own, since their parsers disagree on CONNECT and upgrades. Node
and Caddy (for Go's net/http) take part where they are installed; uvicorn always does, with both of its parsers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.wire import ask, get, raw_client

UVICORN = """
import sys
import uvicorn

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    with open(sys.argv[1], "a") as log:
        log.write(f"{scope['method']} {scope['path']}\\n")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

uvicorn.run(app, port=int(sys.argv[2]), http=sys.argv[3], log_level="critical", lifespan="off", ws="none")
"""
NODE = """
const fs = require("fs");
const server = require("http").createServer((request, response) => {
    request.resume().on("end", () => {
        fs.appendFileSync(process.argv[1], `${request.method} ${request.url}\\n`);
        response.setHeader("content-length", 2);
        response.end("ok");
    });
});
server.on("connect", (request, socket) => {
    fs.appendFileSync(process.argv[1], `${request.method} ${request.url}\\n`);
    socket.write("HTTP/1.1 200 OK\\r\\n\\r\\n");
});
server.listen(Number(process.argv[2]), "127.0.0.1");
"""
CADDY = """{{
    admin off
    auto_https off
    log {{
        output discard
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    log {{
        output file {log}
    }}
    respond ok
}}
"""
SERVERS = [
    "httptools",
    "h11",
    pytest.param("node", marks=pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")),
    pytest.param("caddy", marks=pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")),
]

SMUGGLED = get("/smuggled", method="POST")
TARGETS = ("/health", "http://memory.example/", "memory.example:80", "*")


class RealUpstream:
    """A server in a process of its own, and the log of the requests that it saw."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = log

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def has_seen(self, text: str) -> bool:
        return any(text in line for line in self.lines())


def command(kind: str, port: int, folder: Path) -> list[str]:
    log = str(folder / "requests.log")
    if kind == "node":
        return ["node", "-e", NODE, log, str(port)]
    if kind == "caddy":
        config = folder / "Caddyfile"
        config.write_text(CADDY.format(port=port, log=log))
        return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    return [sys.executable, "-c", UVICORN, log, str(port), kind]


@contextlib.asynccontextmanager
async def real_upstream(kind: str, folder: Path) -> AsyncIterator[RealUpstream]:
    """Run a server until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *command(kind, port, folder), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await eventually(lambda: accepts(port))
        yield RealUpstream(port, folder / "requests.log")
    finally:
        process.kill()
        await process.wait()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def smuggle(port: int, head: bytes, body: bytes, pause: float) -> None:
    """Send the head, and the body a moment later: a server that ends the request at the head reads on by then."""
    with contextlib.suppress(OSError, RuntimeError):
        async with raw_client(port) as client:
            await client.send(head)
            await asyncio.sleep(pause)
            await client.send(body)
            client.writer.write_eof()
            await client.rest()


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("delays", [4, pytest.param(40, marks=pytest.mark.long)])
async def test_connect_reaches_no_server(running, tmp_path, kind, delays):
    """`CONNECT` is refused in each form of target, and a body behind it is never read as a request."""
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    bodies = (
        ("Content-Length: 0", SMUGGLED),
        (f"Content-Length: {len(SMUGGLED)}", SMUGGLED),
        ("Transfer-Encoding: chunked", chunk),
    )
    async with real_upstream(kind, tmp_path) as upstream, running(upstream.url) as sidecar:
        for step in range(delays):
            async with asyncio.TaskGroup() as group:
                for target in TARGETS:
                    for field, body in bodies:
                        head = get(target, field, method="CONNECT")
                        group.create_task(smuggle(sidecar.port, head, body, step / 1000))
            assert (await ask(sidecar.port, get("/proof"))).body == b"ok"
        await eventually(lambda: sum("/proof" in line for line in upstream.lines()) == delays)
        assert not upstream.has_seen("CONNECT")
        assert not upstream.has_seen("/smuggled")


METHODS = ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "SOURCE", "PURGE", "M-SEARCH", "PRI",
           "SUBSCRIBE", "QUERY", "SETUP", "FROB", "get", "Connect")  # fmt: skip
FIELDS = (
    (),
    ("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ("Upgrade: TLS/1.0",),
    ("Expect: 100-continue",),
    ("Expect: nothing",),
    ("Connection: content-length, transfer-encoding",),
    ("Content_Length: 0",),
    ("Transfer_Encoding: identity",),
    ("Transfer.Encoding: chunked",),
    ("X-HTTP-Method-Override: CONNECT",),
    ("Trailer: Content-Length", "TE: trailers"),
    ("Keep-Alive: timeout=0, max=1",),
)


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.long)])
async def test_a_body_is_read_as_a_body_under_every_method_and_field(running, tmp_path, kind, rounds):
    """A body under an upgrade, an expectation or a rare method is never taken for a second request."""
    requests = [
        (get("/first", *fields, framing, method=method), body)
        for method in METHODS
        for fields in FIELDS
        for framing, body in (
            (f"Content-Length: {len(SMUGGLED)}", SMUGGLED),
            ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        )
    ] * rounds
    chance = random.Random(rounds)
    chance.shuffle(requests)
    left = iter(requests)

    async def client() -> None:
        for head, body in left:
            await smuggle(sidecar.port, head, body, chance.choice((0, 0.002)))

    async with real_upstream(kind, tmp_path) as upstream, running(upstream.url) as sidecar:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(client())
        assert (await ask(sidecar.port, get("/proof"))).body == b"ok"
        await eventually(lambda: upstream.has_seen("/proof"))
        assert upstream.has_seen("/first")
        assert not upstream.has_seen("/smuggled")
