"""A sidecar that was stopped for longer than the staleness bound believes nothing that it knew before."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import orjson
import psutil
import pytest

from tests.support.platform import FREE_PORTS, STORE, Platform, new_id
from tests.support.processes import running, wait_until

WRITES = 20
PAUSE = 60.0  # seconds; the bound is 45


@pytest.mark.long
@pytest.mark.timeout(240)
def test_writes_queued_while_the_sidecar_was_stopped_are_refused_where_their_session_was_deleted(tmp_path: Path):
    """SIGSTOP, deletions, a minute, SIGCONT: as when a virtual machine is paused or moved."""
    with (
        running("sidecar", "up", role="up", env=FREE_PORTS, cwd=tmp_path) as up,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        platform = Platform(up, http)
        sessions = [new_id("paused") for _ in range(WRITES)]
        for session in sessions:
            assert platform.store("ann", session, "before").status_code == 200
        wait_until(lambda: platform.metric("sidecar_events_connected") == 1, "the event stream")
        sidecar = _child(up.process.pid, "sidecar")
        sidecar.send_signal(signal.SIGSTOP)
        try:
            for session in sessions:
                assert http.delete(f"{platform.sessions}/api/v1/sessions/{session}").status_code == 204
            queued = [_send(platform.sidecar, session) for session in sessions]
            resumed = time.monotonic() + PAUSE
            wait_until(lambda: time.monotonic() >= resumed, "the end of the pause", PAUSE + 5)
        finally:
            sidecar.send_signal(signal.SIGCONT)
        assert [_status(client) for client in queued] == [410] * WRITES
        assert {tuple(platform.stored("ann", session)) for session in sessions} == {("before",)}


def _child(pid: int, package: str) -> psutil.Process:
    """The process of `up` that serves as the sidecar."""
    [found] = [one for one in psutil.Process(pid).children(recursive=True) if package in one.cmdline()]
    return found


def _send(base: str, session: str) -> socket.socket:
    url = httpx.URL(base)
    client = socket.create_connection((url.host, url.port), timeout=90)
    body = orjson.dumps({"user_id": "ann", "session_id": session, "message_content": "after"})
    head = f"POST {STORE} HTTP/1.1\r\nHost: memory\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    client.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
    return client


def _status(client: socket.socket) -> int:
    with client:
        return int(client.recv(65536).split(b" ")[1])
