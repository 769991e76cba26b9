"""The manifests' sequence with real processes: migrate an empty Postgres, start, restart under load, stop."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.support.deployment import DEPLOY, Manifest, manifests
from tests.support.kubelet import Pod, run_job
from tests.support.platform import STORE
from tests.support.postgres import PostgresServer, postgres  # noqa: F401 # a fixture
from tests.support.processes import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CLIENTS = 4


class Service:
    """The addresses of the ready pods, as a Kubernetes Service has them, and who is using which."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: list[str] = []
        self._using: dict[int, str] = {}

    def add(self, address: str) -> None:
        with self._lock:
            self._ready.append(address)

    def remove(self, address: str) -> None:
        """Take an address out and wait, as the preStop pause does, until no client turns to it any more."""
        with self._lock:
            self._ready.remove(address)
        wait_until(lambda: address not in list(self._using.values()), "clients to leave a pod")

    @contextmanager
    def address(self, client: int, turn: int) -> Iterator[str]:
        with self._lock:
            chosen = self._using[client] = self._ready[turn % len(self._ready)]
        try:
            yield chosen
        finally:
            with self._lock:
                del self._using[client]


class Load:
    """Clients that write without a pause, each message once, and remember what was answered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self.acknowledged: dict[tuple[str, str], list[str]] = {}
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        return sum(map(len, list(self.acknowledged.values())))

    def more(self) -> None:
        """Wait for further messages to be acknowledged, so that what comes next comes under load."""
        wanted = self.count + 5 * CLIENTS
        wait_until(lambda: self.failed or self.count >= wanted, "more writes")

    def _write(self, number: int) -> None:
        with httpx.Client(trust_env=False, timeout=60) as http:
            turn = 0
            while not self._stop.is_set():
                # Every tenth write begins a session that does not exist yet.
                user, session, message = f"user-{number}", f"session-{number}-{turn // 10}", f"message-{turn}"
                body = {"user_id": user, "session_id": session, "message_content": message}
                with self._service.address(number, turn) as address:
                    try:
                        status = http.post(address + STORE, json=body).status_code
                    except httpx.HTTPError as error:
                        self.failed.append(repr(error))
                        return
                if status != 200:
                    self.failed.append(f"{message}: {status}")
                    return
                self.acknowledged.setdefault((user, session), []).append(message)
                turn += 1


class HalfSent:
    """A write of which the head and half of the body are sent: it was accepted, so it must be answered."""

    def __init__(self, address: str) -> None:
        body = json.dumps({"user_id": "slow", "session_id": "slow-session", "message_content": "slow"}).encode()
        host, _, port = address.removeprefix("http://").partition(":")
        head = f"POST {STORE} HTTP/1.1\r\nHost: memory\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._connection = socket.create_connection((host, int(port)), timeout=60)
        self._connection.sendall(head.encode() + b"\r\n\r\n" + body[:20])
        self._rest = body[20:]

    def finish(self) -> bytes:
        """Send the rest; gives the status line."""
        with self._connection as connection:
            connection.sendall(self._rest)
            return connection.makefile("rb").readline()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:  # noqa: F811 # the fixture of that name
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


def test_migrate_start_restart_under_load_and_stop(database: str, tmp_path: Path) -> None:
    """No write fails, every acknowledged one is stored once, and each pod's memory service outlives its sidecar."""
    documents = manifests(DEPLOY / "kubernetes/overlays/development")
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    secrets = {
        "SESSION_DATABASE_URL": database,
        "MEMORY_DATABASE_URL": database,
        "SESSION_SERVICE_TOKEN": "token",
        "SIDECAR_SESSION_SERVICE_TOKEN": "token",
        "SIDECAR_ADMIN_TOKEN": "admin",
    }
    run_job(found["Job", "session-migrate"], secrets, tmp_path / "job")
    run_job(found["Job", "memory-migrate"], secrets, tmp_path / "job")

    pods: list[Pod] = []

    def pod(name: str, **overrides: str) -> Pod:
        made = Pod(found["Deployment", name], secrets, overrides, tmp_path / f"pod-{len(pods)}")
        pods.append(made)
        made.start()
        return made

    try:
        sessions = pod("session-service")
        service = Service()

        def memory() -> Pod:
            made = pod("memory", SIDECAR_SESSION_SERVICE=sessions.main.url())
            service.add(made.main.url())
            return made

        serving = [memory(), memory()]
        with Load(service) as load:
            for old in list(serving):
                load.more()
                serving.append(memory())  # maxSurge 1, maxUnavailable 0: the new one is ready before the old one goes
                load.more()
                accepted = HalfSent(old.main.url())
                service.remove(old.main.url())

                def answered(old: Pod = old, accepted: HalfSent = accepted) -> None:
                    wait_until(lambda: unready(old), "the old pod to be draining")
                    assert b" 200 " in accepted.finish()

                assert old.stop(answered) == ["sidecar", "memory-service"]
                serving.remove(old)
            load.more()
        assert load.failed == []
        assert_stored(serving[0], load.acknowledged)
        assert all(each.stop() == ["sidecar", "memory-service"] for each in serving)
        assert sessions.stop() == ["session-service"]
    finally:
        for each in pods:
            each.kill()


def unready(pod: Pod) -> bool:
    """Whether the sidecar says that it is draining; while it has accepted writes it still answers there."""
    try:
        return httpx.get(pod.main.url("admin") + "/readyz", trust_env=False, timeout=30).status_code == 503
    except httpx.HTTPError:
        return True


def assert_stored(pod: Pod, acknowledged: dict[tuple[str, str], list[str]]) -> None:
    """The memory service itself has each acknowledged message exactly once, in order."""
    with httpx.Client(base_url=pod.processes["memory-service"].url(), trust_env=False, timeout=60) as http:
        for (user, session), messages in acknowledged.items():
            path = f"/api/v1/memories/session/{session}/context"
            context = http.get(path, params={"user_id": user, "max_recent_messages": 1000}).json()
            assert [message["message_content"] for message in context["recent_messages"]] == messages


def test_a_service_refuses_to_serve_an_empty_database(database: str, tmp_path: Path) -> None:
    """It ends with 2 and says which command to run, so a pod that is early is started again, not half alive."""
    documents: list[Manifest] = manifests(DEPLOY / "kubernetes/overlays/development")
    (deployment,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Deployment", "session-service")]
    early = Pod(
        deployment, {"SESSION_DATABASE_URL": database, "SESSION_SERVICE_TOKEN": "token"}, {}, tmp_path / "early"
    )
    with pytest.raises(AssertionError, match="session-service migrate"):
        early.start()
    early.kill()
