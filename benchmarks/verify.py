"""Shows before anything is measured that a contender forwards what it should and refuses what it should."""

from __future__ import annotations

import http.client

from benchmarks import wire
from benchmarks.lineup import Checks
from benchmarks.processes import Failed, get
from benchmarks.stage import Running, Stage

UNUSED = 0xFFFF0000
"""The number of a session that no case uses."""


def verify(stage: Stage, running: Running) -> None:
    """Raises Failed with the first thing found wrong."""
    if running.contender.is_sidecar:
        is_compiled = 'compiled="true"' in get(running.admin, "/metrics")
        if is_compiled != running.contender.is_compiled:
            raise Failed(f"{running.contender.name} runs {'the compiled' if is_compiled else 'the pure'} build")
    session = wire.session_id(UNUSED)
    body = wire.small_body(session, wire.user_id(UNUSED))
    expected = _send(stage.upstream, body)
    if _send(running.port, body) != expected:
        raise Failed(f"{running.contender.name} does not give the upstream's own answer to a write")
    if running.contender.checks is Checks.BODY:
        status, _ = _send(running.port, wire.small_body(session, "user_somebody_else"))
    elif running.contender.checks is Checks.HEADERS:
        status, _ = _send(running.port, body, {"X-Refuse": "1"})
    else:
        return
    if status != 403:
        raise Failed(f"{running.contender.name} answered {status} where it had to refuse")


def _send(port: int, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        fields = {"Content-Type": "application/json", **(headers or {})}
        connection.request("POST", wire.STORE, body, fields)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
