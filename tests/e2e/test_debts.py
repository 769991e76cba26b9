"""In an outage with `SIDECAR_ON_OUTAGE=forward` writes go through, and what is owed for them is paid afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.cluster import Cluster, Service
from tests.support.migrated import migrate
from tests.support.platform import STORE
from tests.support.processes import run_to_end, wait_until


class Outage(Cluster):
    """A cluster whose session service is down from time to time."""

    def __init__(self, folder: Path, *command: str) -> None:
        super().__init__(folder, f"sqlite:///{folder}/sessions.db", f"sqlite:///{folder}/memories.db")
        self.outbox = folder / "outbox.db"
        self.environment = {
            "SIDECAR_UPSTREAM": f"http://127.0.0.1:{self.memory_port}",
            "MEMORY_DATABASE_URL": f"sqlite:///{folder}/memories.db",
            "SIDECAR_SESSION_SERVICE": f"http://127.0.0.1:{self.session_port}",
            "SIDECAR_ON_OUTAGE": "forward",
            "SIDECAR_DECISION_HEADER": "true",
            "SIDECAR_OUTBOX": str(self.outbox),
        }
        self.configure_sidecar(*command, **self.environment)

    def store(self, user: str, session: str) -> httpx.Response:
        """Write through the sidecar."""
        body = {"user_id": user, "session_id": session, "message_content": "Hello"}
        url = f"http://127.0.0.1:{self.sidecar_port}{STORE}"
        return httpx.post(url, json=body, timeout=30, trust_env=False)

    def owner(self, session: str) -> str | None:
        """Who owns a session, according to the session service."""
        url = f"http://127.0.0.1:{self.session_port}/api/v1/sessions/{session}"
        answer = httpx.get(url, timeout=30, trust_env=False)
        return str(answer.json()["user_id"]) if answer.status_code == 200 else None

    def metric(self, name: str) -> float:
        """A figure of the sidecar without labels."""
        page = httpx.get(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=30, trust_env=False).text
        return float(next(line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")))


@pytest.fixture(params=[("serve",), ("wrap", "memory_service.asgi:app")], ids=lambda command: command[0])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    """Everything is up; sessions `bobs` and `deleted` exist at the session service, but not in any memory of ours."""
    migrate("session_service", f"sqlite:///{tmp_path}/sessions.db")
    migrate("memory_service", f"sqlite:///{tmp_path}/memories.db")
    cluster = Outage(tmp_path, *request.param)
    services = (cluster.sessions, cluster.memories, cluster.sidecar)
    try:
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(Service.start, services[:2]))
        base = f"http://127.0.0.1:{cluster.session_port}/api/v1/sessions"
        with httpx.Client(timeout=30, trust_env=False) as client:
            client.put(f"{base}/bobs", json={"user_id": "bob"}).raise_for_status()
            client.put(f"{base}/deleted", json={"user_id": "alice"}).raise_for_status()
            client.delete(f"{base}/deleted").raise_for_status()
        # Only now, or it would have heard of the deletion.
        cluster.sidecar.start()
        yield cluster
    finally:
        for service in services:
            service.kill()


def test_debts_survive_kill_and_are_paid_or_listed(outage: Outage) -> None:
    """The session service dies, writes go on, the sidecar is killed: afterwards each debt is paid once or listed.

    One story, because each step starts where the one before left off, and starting all of it takes seconds.
    """
    outage.sessions.kill()
    for user, session in (("alice", "new"), ("alice", "bobs"), ("alice", "deleted"), ("alice", "new")):
        stored = outage.store(user, session)
        assert (stored.status_code, stored.headers.get("x-sidecar-session")) == (200, "owed"), stored.text
    # Locally the session belongs to its first claimant.
    assert outage.store("mallory", "new").json()["reason"] == "session_owned_by_another_user"
    assert outage.metric("sidecar_debts") == 3

    # The debts are the file's, not the process's.
    outage.sidecar.kill()
    outage.sidecar.start()
    assert outage.metric("sidecar_debts") == 3
    assert outage.store("mallory", "new").status_code == 403

    outage.sessions.start()
    wait_until(lambda: outage.metric("sidecar_debts") == 0, "the debts to be paid")
    assert outage.owner("new") == "alice"
    assert outage.owner("bobs") == "bob"
    assert outage.owner("deleted") is None
    wait_until(lambda: outage.metric("sidecar_debt_conflicts_total") == 2, "both conflicts to be counted")
    listed = run_to_end("sidecar", "outbox", env=outage.environment, cwd=outage.outbox.parent)
    assert listed.process.returncode == 0
    listing = "\n".join(listed.stdout)
    assert "Owed to the session service: none" in listing
    assert "belongs to another user" in listing
    assert "was deleted" in listing
    with closing(sqlite3.connect(outage.outbox)) as journal:
        assert journal.execute("SELECT COUNT(*) FROM debts").fetchone() == (0,)

    # Afterwards everything is asked again.
    assert outage.store("alice", "new").status_code == 200
    assert outage.store("mallory", "new").status_code == 403
    assert outage.store("alice", "deleted").status_code == 410
