"""Order is proven, not assumed: first the session exists, then the memory service sees the write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.platform import STORE
from tests.support.processes import wait_until
from tests.support.servers import served
from tests.support.ways import COMMANDS, sidecar_before

WRITE = {"user_id": "u1", "session_id": "s1", "message_content": "x"}


class SlowSessions:
    """A session service that answers a PUT when it is allowed to, with the status it is told."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.status = 201
        self.app = Starlette(routes=[Route("/api/v1/sessions/{session_id}", self.put, methods=["PUT"])])

    def put(self, request: Request) -> Response:
        self.asked.set()
        self.may_answer.wait(30)
        session = {"session_id": request.path_params["session_id"], "user_id": "u1", "status": "active"}
        return JSONResponse(session, self.status)


class Memories:
    """A memory service that only remembers that it was called."""

    def __init__(self) -> None:
        self.calls = 0
        self.app = Starlette()
        self.app.router.default = self.handle

    async def handle(self, scope: object, receive: object, send: object) -> None:
        self.calls += 1
        await JSONResponse({"success": True}, 201)(scope, receive, send)  # type: ignore[arg-type]


@pytest.fixture
def sessions() -> SlowSessions:
    return SlowSessions()


@pytest.fixture
def memories() -> Memories:
    return Memories()


@pytest.fixture(params=COMMANDS, ids=str)
def sidecar(
    request: pytest.FixtureRequest, sessions: SlowSessions, memories: Memories, tmp_path: Path
) -> Iterator[str]:
    """A sidecar of its own between the two."""
    with served(sessions.app) as session_url, served(memories.app) as memory_url:
        env = {
            "SIDECAR_LISTEN": "127.0.0.1:0",
            "SIDECAR_ADMIN": "127.0.0.1:0",
            "SIDECAR_SESSION_SERVICE": session_url,
            "SIDECAR_SESSION_TIMEOUT": "30s",
        }
        with sidecar_before(request.param, memory_url, env=env, cwd=tmp_path) as process:
            yield process.url()


def test_the_memory_service_sees_nothing_before_the_session_exists(
    sidecar: str, sessions: SlowSessions, memories: Memories
) -> None:
    """While the session service has not answered, the write waits in the sidecar."""
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(httpx.post, sidecar + STORE, json=WRITE, timeout=60, trust_env=False)
        wait_until(sessions.asked.is_set, "the session service to be asked")
        # A read that goes through shows that the sidecar works while the write waits.
        assert httpx.get(f"{sidecar}/health", trust_env=False).status_code == 201
        assert (memories.calls, writing.done()) == (1, False)
        sessions.may_answer.set()
        assert writing.result().status_code == 201
        assert memories.calls == 2


@pytest.mark.parametrize("status", [409, 410, 503])
def test_where_the_session_service_does_not_agree_the_memory_service_never_sees_the_write(
    sidecar: str, sessions: SlowSessions, memories: Memories, status: int
) -> None:
    """For every answer but a session, the write is refused and not sent."""
    sessions.status = status
    sessions.may_answer.set()
    response = httpx.post(sidecar + STORE, json=WRITE, timeout=60, trust_env=False)
    assert response.status_code in {403, 410, 502, 503}
    assert "x-sidecar-reason" in response.headers
    assert memories.calls == 0
