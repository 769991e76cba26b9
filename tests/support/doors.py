"""Runs the table of decisions through a door that really listens, and ASGI applications under three servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config as HypercornConfig
from starlette.types import Receive, Scope, Send

from service_kit.process.address import Tcp, bind, bound_address
from sidecar.testing import SessionServiceApp
from tests.doors.cases import Case
from tests.support.processes import wait_until
from tests.support.wire import Answered, ask

Serve = Callable[[Any], contextlib.AbstractContextManager[int]]


@dataclass
class Recorder:
    """What an application behind a door saw: method, target and body of each request, and its permit, if any."""

    seen: list[tuple[str, bytes]] = field(default_factory=list)
    permits: list[Any] = field(default_factory=list)


def recording(recorder: Recorder) -> Any:
    """An application that answers everything with 200 and records it."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        recorder.seen.append((scope["method"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return application


def written(case: Case) -> bytes:
    """Write the request of a case as its bytes."""
    lines = [f"{case.method} {case.target} HTTP/1.1", "Host: memory.example", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in case.headers]
    body = case.body
    if case.chunked:
        lines.append("Transfer-Encoding: chunked")
        half = len(body) // 2
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


async def check(case: Case, port: int, sessions: SessionServiceApp, recorder: Recorder) -> None:
    """Send a case to the door at `port` and compare everything that the table says of it."""
    for session_id, (user_id, status) in case.before.items():
        sessions.add(session_id, user_id, status)  # type: ignore[arg-type] # a status, as the table promises
    existed, seen = set(sessions.sessions), len(recorder.seen)
    answer = await ask(port, written(case))
    assert answer.status == case.status, answer.body
    assert reason_of(answer) == case.reason
    created = [(each, stored.user_id) for each, stored in sessions.sessions.items() if each not in existed]
    assert sorted(created) == sorted(case.creates)
    assert [body for _, body in recorder.seen[seen:]] == [case.body] * case.reaches
    if case.reasons:
        calls = json.loads(answer.body)
        assert tuple(call["error"]["data"]["reason"] for call in calls) == case.reasons


@dataclass
class Door:
    """A door that listens on `port`: the session service that it asks, and what the application behind it saw."""

    port: int
    sessions: SessionServiceApp
    recorder: Recorder

    async def passes(self, case: Case, *, in_outage: bool = False) -> None:
        """Check a case; with `in_outage` the session service answers 503 meanwhile."""
        self.sessions.down = in_outage
        try:
            await check(case, self.port, self.sessions, self.recorder)
        finally:
            self.sessions.down = False


def reason_of(answer: Answered) -> str | None:
    """The value of `X-Sidecar-Reason`."""
    values = answer.values("x-sidecar-reason")
    return values[0].decode() if values else None


@contextlib.contextmanager
def under_uvicorn(app: Any) -> Iterator[int]:
    """Serve an application under plain uvicorn, in a thread; gives the port."""
    listener = bind(Tcp("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, "uvicorn")
        yield _port(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextlib.contextmanager
def under_hypercorn(app: Any) -> Iterator[int]:
    """Serve an application under hypercorn, in a thread; gives the port."""
    listener = bind(Tcp("127.0.0.1", 0))
    port = _port(listener)
    config = HypercornConfig()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 1
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(hypercorn_serve(app, config, shutdown_trigger=stop.wait))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _port(listener: Any) -> int:
    address = bound_address(listener)
    assert isinstance(address, Tcp)
    return address.port
