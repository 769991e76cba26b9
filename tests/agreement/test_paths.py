"""No spelling of a path gets past the guard: a real FastAPI and real Node routers are asked what they make of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from sidecar.model import Extraction, Reference
from tests.support.reading import head, only, reader
from tests.support.targets import path_corpus

HERE = Path(__file__).parent / "node"
NODE = shutil.which("node")
READER = reader()
USER = b'{"user_id":"u1"}'

app = FastAPI()


@app.post("/api/v1/memories")
async def create() -> list[str | None]:
    return ["create", None]


@app.post("/api/v1/memories/session/store")
async def store() -> list[str | None]:
    return ["store", None]


@app.post("/api/v1/memories/session/{session_id}/summarize")
async def summarize(session_id: str) -> list[str | None]:
    return ["summarize", session_id]


@app.post("/api/v1/memories/session/{session_id}/deactivate")
async def deactivate(session_id: str) -> list[str | None]:
    return ["deactivate", session_id]


@app.post("/mcp")
async def mcp() -> list[str | None]:
    return ["mcp", None]


@app.exception_handler(404)
async def no_route(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(None)


@contextmanager
def fastapi_server() -> Iterator[int]:
    """The application above on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", http="httptools", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def node_server(*arguments: str) -> Iterator[int]:
    """The routers of the script on a free port; they stop when their input ends."""
    if NODE is None:
        pytest.skip("node is not on PATH")
    with subprocess.Popen(
        [NODE, str(HERE / "routers.js"), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the routers did not start"
        yield int(line)
        assert process.stdin is not None
        process.stdin.close()


class Connection:
    """Sends targets as they are, over one connection as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, target: bytes) -> Any:
        """What the server makes of a POST to the target; None where it answers with anything but JSON."""
        self._socket.sendall(b"POST %b HTTP/1.1\r\nHost: host\r\nContent-Length: 0\r\n\r\n" % target)
        status = self._file.readline()
        length, keeps = 0, status.startswith(b"HTTP/1.1 ")
        chunked = False
        while line := self._file.readline().strip().lower():
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
            keeps = keeps and not (name == b"connection" and b"close" in value)
            chunked = chunked or name == b"transfer-encoding"
        assert not chunked
        body = self._file.read(length)
        if not keeps:
            self.close()
            self._open()
        return json.loads(body) if b" 200 " in status else None


@contextmanager
def connected(port: int) -> Iterator[Connection]:
    connection = Connection(port)
    try:
        yield connection
    finally:
        connection.close()


def guarded_as(target: bytes) -> Reference | str | None:
    """What the reader makes of a write to the target: a reference or none, `passed`, or `refused`."""
    plan = READER.plan(head("POST", target))
    if plan is None:
        return "passed"
    reading = plan if isinstance(plan, Extraction) else READER.read(head("POST", target), USER)
    call = only(reading)
    return "refused" if call.refusal else call.reference


def check(target: bytes, route: str, session_id: str | None) -> None:
    """What a router takes for a guarded route has been guarded, for the very session that it sees."""
    guarded = guarded_as(target)
    if guarded == "refused":
        return
    if route == "deactivate":
        assert guarded == "passed" or guarded == Reference(str(session_id), "u1"), (target, guarded)
    elif route == "summarize":
        assert guarded == Reference(str(session_id), "u1"), (target, route, session_id, guarded)
    else:
        assert guarded is None or isinstance(guarded, Reference), (target, route, guarded)


def test_fastapi_reaches_no_guarded_route_that_was_not_guarded() -> None:
    """Its server decodes paths before it routes them."""
    reached: dict[str, int] = {}
    with fastapi_server() as port, connected(port) as connection:
        for target in path_corpus():
            found = connection.ask(target)
            if found is not None:
                check(target, *found)
                reached[found[0]] = reached.get(found[0], 0) + 1
    assert set(reached) == {"create", "store", "summarize", "deactivate", "mcp"}
    assert sum(reached.values()) > 150


def ask_node(arguments: Sequence[str]) -> dict[str, int]:
    """Check the whole corpus; how often each router reached a route."""
    reached: dict[str, int] = {}
    with node_server(*arguments) as port, connected(port) as connection:
        for target in path_corpus():
            for router, route, session_id in connection.ask(target) or []:
                check(target, route, session_id)
                reached[router] = reached.get(router, 0) + 1
    return reached


def test_node_reaches_no_guarded_route_that_was_not_guarded() -> None:
    """However its routers read a path: split first or decode first, as it is or as a URL."""
    reached = ask_node([])
    assert len(reached) == 4
    assert min(reached.values()) > 100


def test_express_and_find_my_way_reach_no_guarded_route_that_was_not_guarded() -> None:
    """The routers that most Node services use."""
    if NODE is not None and not (HERE / "node_modules").exists():
        pytest.skip("the routers are not installed: npm ci --prefix tests/agreement/node")
    reached = ask_node(["installed"])
    assert len(reached) == 3
    assert min(reached.values()) > 100


def test_the_corpus_is_not_refused_wholesale() -> None:
    """It has targets of every outcome."""
    corpus = path_corpus()
    outcomes = [guarded_as(target) for target in corpus]
    assert len(corpus) > 1500
    assert outcomes.count("refused") > 500
    assert outcomes.count("passed") > 50
    assert outcomes.count(Reference("s1", "u1")) > 50
