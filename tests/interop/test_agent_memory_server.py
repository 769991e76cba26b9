"""agent-memory-server: its writes are guarded by this project's session service, those with many memories too."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.interop.conftest import Sidecar
from tests.support.foreign import ForeignServer
from tests.support.processes import run_to_end, running

PROFILE = "agent-memory-server"


@pytest.fixture
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session service; gives its address."""
    folder = tmp_path_factory.mktemp("sessions")
    env = {"SESSION_DATABASE_URL": "sqlite:///sessions.db", "SESSION_SERVICE_LISTEN": "127.0.0.1:0"}
    run_to_end("session_service", "migrate", env=env, cwd=folder)
    with running("session_service", "serve", role="session-service", env=env, cwd=folder) as process:
        yield process.url()


def owner(sessions: str, session_id: str) -> Any:
    answer = httpx.get(f"{sessions}/api/v1/sessions/{session_id}")
    return answer.json()["user_id"] if answer.status_code == 200 else None


def memories(*named: tuple[str, str]) -> dict[str, Any]:
    listed = [{"id": uuid.uuid4().hex, "text": "x", "session_id": one, "user_id": user} for one, user in named]
    return {"memories": listed}


def test_working_memory_is_written_once_its_session_exists(
    agent_memory: ForeignServer, sidecar: Sidecar, sessions: str
) -> None:
    """The session belongs to the user of the first write, and another user's write never arrives."""
    client, session_id = sidecar(agent_memory, PROFILE, SIDECAR_SESSION_SERVICE=sessions), f"s-{uuid.uuid4()}"
    path = f"/v1/working-memory/{session_id}"
    message = {"messages": [{"role": "user", "content": "hi"}]}
    assert client.put(path, json={"user_id": "ann", **message}).status_code == 200
    assert owner(sessions, session_id) == "ann"
    refused = client.put(path, json={"user_id": "bob", **message})
    assert (refused.status_code, refused.json()["reason"]) == (403, "session_owned_by_another_user")
    assert httpx.get(f"{agent_memory.url}{path}?user_id=bob").status_code == 404


def test_memories_of_many_sessions_are_written_together_or_not_at_all(
    agent_memory: ForeignServer, sidecar: Sidecar, sessions: str
) -> None:
    """One session of another user refuses all, and none is created for it."""
    client = sidecar(agent_memory, PROFILE, SIDECAR_SESSION_SERVICE=sessions)
    one, two, three = (f"s-{uuid.uuid4()}" for _ in range(3))
    path = "/v1/long-term-memory/"
    assert client.post(path, json=memories((one, "ann"), (two, "ann"))).status_code == 200
    assert [owner(sessions, one), owner(sessions, two)] == ["ann", "ann"]
    refused = client.post(path, json=memories((three, "bob"), (one, "bob")))
    assert (refused.status_code, refused.json()["session_id"]) == (403, one)
    assert owner(sessions, three) is None
