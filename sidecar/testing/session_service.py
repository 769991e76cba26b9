"""A session service in memory as an ASGI application: the calls and events that the sidecar uses, and no more.

It speaks the API of the profile `isa` (docs/users/session-service.md) and keeps nothing on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service_kit.process.address import Tcp, bind, bound_address

Status: TypeAlias = Literal["active", "ended", "deleted"]

_API: Final = "/api/v1/sessions"
_HEARTBEAT: Final = 1.0
"""Seconds between two heartbeats."""


@dataclass(frozen=True)
class StoredSession:
    """One session; a deleted one is a tombstone (`status` is `deleted`)."""

    user_id: str
    status: Status = "active"


@dataclass(frozen=True)
class _Event:
    number: int
    name: str
    session_id: str
    user_id: str

    def written(self) -> str:
        data = json.dumps({"session_id": self.session_id, "user_id": self.user_id})
        return f"event: {self.name}\nid: {self.number}\ndata: {data}\n\n"


class SessionServiceApp:
    """The ASGI application. Tests store sessions with `add` and read `sessions`; both are safe in any thread.

    `sessions` maps session ids to what is stored. While `down` is set, every call is answered 503. `calls` holds method
    and path of every call but those of the event stream.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, StoredSession] = {}
        self.calls: list[tuple[str, str]] = []
        self.down = False
        self.url = ""
        """The base URL, once it is served."""
        self._events: list[_Event] = []
        self._app = Starlette(
            routes=[
                Route(f"{_API}/{{session_id}}", self._put, methods=["PUT"]),
                Route(f"{_API}/{{session_id}}", self._get, methods=["GET"]),
                Route("/api/v1/session-events", self._stream, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(_API):
            self.calls.append((scope["method"], scope["path"]))
            if self.down:
                problem = _problem(503, "unavailable", "The session service is down.")
                await problem(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def add(self, session_id: str, user_id: str, status: Status = "active") -> None:
        """Store a session, or change one, and send its event. `status` is `active`, `ended` or `deleted`."""
        self.sessions[session_id] = StoredSession(user_id, status)
        name = "created" if status == "active" else status
        self._events.append(_Event(len(self._events) + 1, name, session_id, user_id))

    def end(self, session_id: str) -> None:
        """End a session. Raises KeyError where there is none."""
        self.add(session_id, self.sessions[session_id].user_id, "ended")

    def delete(self, session_id: str) -> None:
        """Delete a session; a tombstone stays. Raises KeyError where there is none."""
        self.add(session_id, self.sessions[session_id].user_id, "deleted")

    async def _put(self, request: Request) -> Response:
        session_id, body = request.path_params["session_id"], await request.json()
        stored = self.sessions.get(session_id)
        if stored is None:
            self.add(session_id, body["user_id"])
            return self._found(session_id, 201)
        if stored.status == "deleted":
            return _problem(410, "session_gone", "The session was deleted.")
        if stored.user_id != body["user_id"]:
            return _problem(409, "session_owned_by_another_user", "The session belongs to another user.")
        return self._found(session_id, 200)

    async def _get(self, request: Request) -> Response:
        session_id, user_id = request.path_params["session_id"], request.query_params.get("user_id")
        stored = self.sessions.get(session_id)
        if stored is None:
            return _problem(404, "session_not_found", "There is no such session.")
        if stored.status == "deleted":
            return _problem(410, "session_gone", "The session was deleted.")
        if user_id not in (None, stored.user_id):
            return _problem(403, "session_owned_by_another_user", "The session belongs to another user.")
        return self._found(session_id, 200)

    async def _stream(self, request: Request) -> Response:
        after = request.headers.get("last-event-id", request.query_params.get("after", ""))
        told = int(after) if after.isdigit() else len(self._events)
        return StreamingResponse(self._tell(told), media_type="text/event-stream")

    async def _tell(self, told: int) -> AsyncIterator[str]:
        """Send all events after number `told` as they happen, and heartbeats in between."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for event in self._events[told:]:
                told = event.number
                yield event.written()
            if loop.time() >= due:
                due = loop.time() + _HEARTBEAT
                yield ": heartbeat\n\n"
            await asyncio.sleep(0.02)  # other threads add events, so there is nothing to wait on

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def _found(self, session_id: str, status: int) -> Response:
        stored = self.sessions[session_id]
        return JSONResponse(
            {"session_id": session_id, "user_id": stored.user_id, "status": stored.status}, status_code=status
        )


@contextlib.contextmanager
def serve_session_service(app: SessionServiceApp | None = None) -> Iterator[SessionServiceApp]:
    """Serve the fake on a free port of the loopback interface, in a thread, until the block ends.

    Gives the application; its `url` is the value for `SIDECAR_SESSION_SERVICE`. Raises RuntimeError where the server
    does not start.
    """
    service = app or SessionServiceApp()
    listener = bind(Tcp("127.0.0.1", 0))
    config = uvicorn.Config(
        service, lifespan="off", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    # The listener accepts from here on; requests wait until the thread runs.
    service.url = f"http://{bound_address(listener)}"
    try:
        yield service
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _problem(status: int, reason: str, detail: str) -> Response:
    content = {"type": "about:blank", "title": reason, "status": status, "detail": detail, "reason": reason}
    return JSONResponse(content, status_code=status, media_type="application/problem+json")
