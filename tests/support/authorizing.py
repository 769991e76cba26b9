"""A running authoriser with a real session service behind it, and requests written exactly as a test says."""

from __future__ import annotations

import contextlib
import http.client
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.types import Receive, Scope, Send

from tests.doors.cases import MAX_BODY, Case
from tests.support.migrated import migrate
from tests.support.processes import Running, running
from tests.support.servers import served

Fields = Sequence[tuple[str, str]]


@dataclass
class Answer:
    """What came back: status, fields with their names in lower case, body."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str | None:
        return self.fields.get("x-sidecar-reason")


def ask(
    address: str, method: str, target: str, fields: Fields = (), body: bytes = b"", *, chunked: bool = False
) -> Answer:
    """Send one request with these fields and this target, to the byte, on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=45)
    with contextlib.closing(connection):
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in fields:
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        # A server may refuse by the head alone and close before the body is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())


class Memories:
    """An upstream that answers 200 to everything and keeps (method, target) of each request, and all header names."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.header_names: set[bytes] = set()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        with self._lock:
            self.seen.append((scope["method"], scope["raw_path"].decode()))
            self.header_names.update(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class World:
    """A sidecar with its authoriser on, the session service that it asks, and a memory service that tells all."""

    sidecar: Running
    sessions: str
    memories: Memories
    memories_address: str
    database: Path
    _http: httpx.Client

    @property
    def writes(self) -> list[tuple[str, str]]:
        """The requests that reached the memory service and were no reads."""
        return [request for request in self.memories.seen if request[0] not in ("GET", "HEAD", "OPTIONS")]

    @property
    def authz(self) -> str:
        """Where the authoriser listens, as HOST:PORT."""
        return self.sidecar.addresses["authz"]

    def create(self, session_id: str, user_id: str) -> None:
        """Have an active session exist."""
        url = f"{self.sessions}/api/v1/sessions/{session_id}"
        self._http.put(url, json={"user_id": user_id}).raise_for_status()

    def prepare(self, case: Case) -> None:
        """Have the sessions exist that the case begins with."""
        for session_id, (owner, status) in case.before.items():
            url = f"{self.sessions}/api/v1/sessions/{session_id}"
            if self._http.put(url, json={"user_id": owner}).status_code == 410:
                continue
            if status == "ended":
                self._http.post(f"{url}/end").raise_for_status()
            if status == "deleted":
                self._http.delete(url).raise_for_status()

    def all_sessions(self) -> set[tuple[str, str]]:
        """Every session that exists or existed, as (session id, user id)."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return set(database.execute("SELECT session_id, user_id FROM sessions"))


@contextlib.contextmanager
def authorizing(cwd: Path, **env: str) -> Iterator[World]:
    """Run session service and sidecar, its authoriser on a free port, until the block ends."""
    database = cwd / "sessions.db"
    service = {"SESSION_SERVICE_LISTEN": "127.0.0.1:0", "SESSION_DATABASE_URL": f"sqlite:///{database}"}
    migrate("session_service", f"sqlite:///{database}")
    memories = Memories()
    with (
        httpx.Client(timeout=30, trust_env=False) as client,
        served(memories) as upstream,
        running("session_service", "serve", role="session-service", env=service, cwd=cwd) as sessions,
        running(
            "sidecar", "serve", role="sidecar", env=sidecar_env(upstream, sessions.url(), **env), cwd=cwd
        ) as sidecar,
    ):
        yield World(sidecar, sessions.url(), memories, upstream.removeprefix("http://"), database, client)


def sidecar_env(upstream: str, sessions: str, **env: str) -> dict[str, str]:
    """The settings of a sidecar whose authoriser is on."""
    return {
        "SIDECAR_UPSTREAM": upstream,
        "SIDECAR_SESSION_SERVICE": sessions,
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN": "127.0.0.1:0",
        "SIDECAR_AUTHZ": "127.0.0.1:0",
        "SIDECAR_MAX_BODY": str(MAX_BODY),
        **env,
    }
