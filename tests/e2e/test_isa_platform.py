"""A sidecar before the platform's own session service, which creates by POST and updates by PUT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sidecar.settings import Settings
from sidecar.tools.check.connections import check_connections
from tests.support.platform import STORE
from tests.support.platform_sessions import PlatformSessions
from tests.support.servers import served
from tests.support.sidecar_process import sidecar_process
from tests.support.ways import COMMANDS

MEMORIES = "/api/v1/memories"


class Memories:
    """A memory service that keeps what it is sent."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._store, methods=["POST"])])

    async def _store(self, request: Request) -> JSONResponse:
        self.stored.append(await request.json())
        return JSONResponse({"success": True})


class Scene:
    """The three of them, and a client."""

    def __init__(self, url: str, sessions: PlatformSessions, memories: Memories) -> None:
        self.url = url
        self.sessions = sessions
        self.memories = memories

    def store(self, user_id: str, session_id: str, path: str = STORE, **more: Any) -> tuple[int, str | None]:
        """Store a message; gives the status and the reason of a refusal."""
        body = {"user_id": user_id, "session_id": session_id, "message_content": "x", **more}
        response = httpx.post(self.url + path, json=body, trust_env=False, timeout=30)
        return response.status_code, response.headers.get("x-sidecar-reason")


@pytest.fixture(scope="module")
def parts() -> Iterator[tuple[PlatformSessions, str, Memories, str]]:
    sessions, memories = PlatformSessions(), Memories()
    with served(sessions.app) as session_url, served(memories.app) as memory_url:
        yield sessions, session_url, memories, memory_url


@pytest.fixture(scope="module", params=COMMANDS, ids=str)
def scene(parts, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    sessions, session_url, memories, memory_url = parts
    # What one way to run the sidecar has made is not there for the next.
    sessions.sessions.clear()
    env = {"SIDECAR_PROFILE": "isa-platform", "SIDECAR_SESSION_SERVICE": session_url}
    with sidecar_process(memory_url, tmp_path_factory.mktemp("platform"), request.param, **env) as sidecar:
        yield Scene(f"http://127.0.0.1:{sidecar.port}", sessions, memories)


def test_a_first_write_creates_its_session_and_later_ones_ask_no_more(scene: Scene) -> None:
    """A look, a POST with the id, and the answer proves id and owner."""
    scene.sessions.calls.clear()
    assert scene.store("ann", "new-1") == (200, None)
    assert scene.sessions.sessions["new-1"]["user_id"] == "ann"
    assert scene.sessions.calls == [("GET", "/api/v1/sessions/new-1"), ("POST", "/api/v1/sessions")]
    assert scene.store("ann", "new-1") == (200, None)
    assert len(scene.sessions.calls) == 2


def test_what_is_there_is_admitted_without_a_creation(scene: Scene) -> None:
    """A session that exists is admitted for its owner without a create call."""
    scene.sessions.sessions["old-1"] = {"session_id": "old-1", "user_id": "ann", "status": "active"}
    scene.sessions.calls.clear()
    assert scene.store("ann", "old-1") == (200, None)
    assert scene.sessions.calls == [("GET", "/api/v1/sessions/old-1")]


def test_another_users_session_is_refused_known_or_not(scene: Scene) -> None:
    """The write is refused whether or not the sidecar knows the session, and is not forwarded."""
    scene.sessions.sessions["anns-1"] = {"session_id": "anns-1", "user_id": "ann", "status": "active"}
    before = len(scene.memories.stored)
    assert scene.store("bob", "anns-1") == (403, "session_owned_by_another_user")
    assert scene.store("ann", "anns-1") == (200, None)
    assert scene.store("bob", "anns-1") == (403, "session_owned_by_another_user")
    assert len(scene.memories.stored) == before + 1


def test_a_session_memory_names_its_session_or_is_refused(scene: Scene) -> None:
    """The platform's client puts the id into the metadata; without any the platform would mint one."""
    memory = {"memory_type": "session", "user_id": "ann", "content": "x"}
    named = {**memory, "metadata": {"session_id": "chat-9"}}
    with httpx.Client(base_url=scene.url, trust_env=False) as client:
        assert client.post(MEMORIES, json=named).status_code == 200
        refused = client.post(MEMORIES, json=memory)
    assert (refused.status_code, refused.json()["reason"]) == (422, "session_id_required")
    assert scene.sessions.sessions["chat-9"]["user_id"] == "ann"


def test_an_outage_that_looks_like_absence_is_an_outage(scene: Scene) -> None:
    """Every call answers 404 while the database is down: known sessions go on, new ones wait, and come later."""
    assert scene.store("ann", "known-1") == (200, None)
    scene.sessions.is_down = True
    try:
        assert scene.store("ann", "known-1") == (200, None)
        assert scene.store("ann", "later-1") == (503, "session_service_unavailable")
    finally:
        scene.sessions.is_down = False
    assert "later-1" not in scene.sessions.sessions
    assert scene.store("ann", "later-1") == (200, None)
    assert scene.sessions.sessions["later-1"]["user_id"] == "ann"


def test_profile_isa_says_that_it_does_not_fit(parts, tmp_path: Path) -> None:
    """PUT is answered 404 there: the refusal names the profile that creates by POST, and nothing is created."""
    sessions, session_url, _, memory_url = parts
    with sidecar_process(memory_url, tmp_path, SIDECAR_SESSION_SERVICE=session_url) as sidecar:
        body = {"user_id": "ann", "session_id": "misfit-1", "message_content": "x"}
        response = httpx.post(f"http://127.0.0.1:{sidecar.port}{STORE}", json=body, trust_env=False, timeout=30)
    assert (response.status_code, response.json()["reason"]) == (502, "session_service_untrustworthy")
    assert "profile isa-platform does look + POST" in response.json()["detail"]
    assert "misfit-1" not in sessions.sessions


async def test_check_names_the_profile_that_fits(parts) -> None:
    """`check --connect` names the profile and creates nothing."""
    sessions, session_url, _, memory_url = parts
    before = dict(sessions.sessions)
    findings = await check_connections(Settings(SIDECAR_SESSION_SERVICE=session_url, upstream=memory_url))
    (misfit,) = [finding for finding in findings if finding.is_problem]
    assert misfit.text.endswith("SIDECAR_PROFILE=isa-platform fits this service")
    assert sessions.sessions == before
