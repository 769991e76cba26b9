"""What a client of the platform does, in a few words, so that tests read like the story they tell."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.migrated import migrate
from tests.support.processes import Running, running

FREE_PORTS = {
    "SIDECAR_LISTEN": "127.0.0.1:0",
    "SIDECAR_ADMIN": "127.0.0.1:0",
    "MEMORY_SERVICE_LISTEN": "127.0.0.1:0",
    "SESSION_SERVICE_LISTEN": "127.0.0.1:0",
}

STORE = "/api/v1/memories/session/store"


@contextlib.contextmanager
def both_services(folder: Path) -> Iterator[tuple[Running, Running]]:
    """Run a session service and a memory service on fresh databases in `folder`."""
    databases = {
        "SESSION_DATABASE_URL": f"sqlite:///{folder}/sessions.db",
        "MEMORY_DATABASE_URL": f"sqlite:///{folder}/memories.db",
    }
    migrate("session_service", databases["SESSION_DATABASE_URL"])
    migrate("memory_service", databases["MEMORY_DATABASE_URL"])
    env = {**FREE_PORTS, **databases}
    with (
        running("session_service", "serve", role="session-service", env=env, cwd=folder) as sessions,
        running("memory_service", "serve", role="memory-service", env=env, cwd=folder) as memories,
    ):
        yield sessions, memories


@contextlib.contextmanager
def wrapped_memories(folder: Path, sessions: Running) -> Iterator[Running]:
    """Run the memory service of `both_services` once more, as an application that `wrap` serves under the guard."""
    env = {
        **FREE_PORTS,
        "MEMORY_DATABASE_URL": f"sqlite:///{folder}/memories.db",
        "SIDECAR_SESSION_SERVICE": sessions.url(),
    }
    with running("sidecar", "wrap", "memory_service.asgi:app", role="sidecar", env=env, cwd=folder) as sidecar:
        yield sidecar


def new_id(prefix: str) -> str:
    """An id that no other test uses."""
    return f"{prefix}-{uuid.uuid4()}"


class Platform:
    """The three services, and what a test asks of them; `up` runs all of them where the other two are not given."""

    def __init__(
        self,
        up: Running,
        http: httpx.Client,
        *,
        memories: Running | None = None,
        sessions: Running | None = None,
    ) -> None:
        self.up = up
        self.http = http
        self.sidecar = up.url("listen")
        self.admin = up.url("admin")
        self.memory = up.url("memory-service") if memories is None else memories.url()
        self.sessions = up.url("session-service") if sessions is None else sessions.url()

    def create(self, user_id: str, session_id: str | None = None) -> str:
        """Create a session at the session service; gives its id."""
        body = {"user_id": user_id, **({"session_id": session_id} if session_id else {})}
        response = self.http.post(f"{self.sessions}/api/v1/sessions", json=body)
        assert response.status_code == 201, response.text
        return str(response.json()["session_id"])

    def session(self, session_id: str) -> httpx.Response:
        """What the session service says of a session."""
        return self.http.get(f"{self.sessions}/api/v1/sessions/{session_id}")

    def store(self, user_id: str | None, session_id: str, message: str = "Hello", **more: Any) -> httpx.Response:
        """Store a message through the sidecar."""
        body = {"user_id": user_id, "session_id": session_id, "message_content": message, **more}
        return self.http.post(self.sidecar + STORE, json={k: v for k, v in body.items() if v is not None})

    def context(self, user_id: str, session_id: str) -> dict[str, Any]:
        """Read a session's context through the sidecar."""
        path = f"/api/v1/memories/session/{session_id}/context"
        response = self.http.get(self.sidecar + path, params={"user_id": user_id, "max_recent_messages": 1000})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def stored(self, user_id: str, session_id: str) -> list[str]:
        """The messages that the memory service itself has for the session, oldest first."""
        path = f"/api/v1/memories/session/{session_id}/context"
        response = self.http.get(self.memory + path, params={"user_id": user_id, "max_recent_messages": 1000})
        assert response.status_code == 200, response.text
        return [message["message_content"] for message in response.json()["recent_messages"]]

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the sidecar's metrics; 0 where it was never counted."""
        return metric(self.http.get(f"{self.admin}/metrics").text, name, **labels)


def metric(exposition: str, name: str, **labels: str) -> float:
    """Find one sample in an exposition; 0 where there is none."""
    return sum(sample.value for sample in _samples(exposition, name) if labels.items() <= sample.labels.items())


def _samples(exposition: str, name: str) -> Iterator[Any]:
    for family in text_string_to_metric_families(exposition):
        yield from (sample for sample in family.samples if sample.name == name)
