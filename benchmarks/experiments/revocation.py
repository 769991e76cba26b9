"""How long after the session service confirmed a deletion the sidecar, which had it cached, refuses the write."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator

from benchmarks import wire
from benchmarks.bench import Bench
from benchmarks.figures import percentile
from benchmarks.lineup import SIDECAR
from benchmarks.processes import FIXED_CORE, Failed, Pinned, free_port
from benchmarks.samples import Sample
from benchmarks.stage import Stage

CASE = "revocation"
GIVE_UP_S = 60.0


def run(bench: Bench) -> None:
    if not bench.present([SIDECAR]) or "session_service_command" not in bench.stage.words:
        return
    rounds = bench.options.rounds
    each = bench.options.revocations // rounds
    with _session_service(bench.stage) as port:
        env = {"SIDECAR_SESSION_SERVICE": f"http://127.0.0.1:{port}"}
        with bench.stage.running(SIDECAR, env) as running:
            for number in range(rounds):
                bench.say(f"revocation, round {number + 1} of {rounds}")
                delays = [_delay(running.port, port, session) for session in range(number * each, (number + 1) * each)]
                figures = {"p50_ms": percentile(delays, 50), "p99_ms": percentile(delays, 99), "max_ms": max(delays)}
                bench.samples.add(Sample(CASE, SIDECAR.name, number, figures))


@contextlib.contextmanager
def _session_service(stage: Stage) -> Iterator[int]:
    """The real session service on SQLite, on the fixed core."""
    port = free_port()
    env = {
        "SESSION_SERVICE_LISTEN": f"127.0.0.1:{port}",
        "SESSION_DATABASE_URL": f"sqlite:///{stage.folder}/sessions.db",
    }
    command = stage.words["session_service_command"]
    Pinned("migration", [command, "migrate"], FIXED_CORE, stage.folder, env).wait_until_done()
    process = Pinned("session service", [command, "serve"], FIXED_CORE, stage.folder, env)
    try:
        process.wait_until_answering(port)
        yield port
    finally:
        process.stop()


def _delay(sidecar: int, session_service: int, number: int) -> float:
    """Milliseconds from the answer to the DELETE until a write through the sidecar was answered 410."""
    session, user = wire.session_id(number), wire.user_id(number)
    body = wire.small_body(session, user)
    for _ in range(2):
        _expect(201, _send(sidecar, "POST", wire.STORE, body))
    _expect(204, _send(session_service, "DELETE", f"/api/v1/sessions/{session}"))
    deleted = time.perf_counter()
    while time.perf_counter() - deleted < GIVE_UP_S:
        if (status := _send(sidecar, "POST", wire.STORE, body)) == 410:
            return (time.perf_counter() - deleted) * 1e3
        _expect(201, status)
    raise Failed(f"a deleted session was still admitted after {GIVE_UP_S} s")


def _expect(wanted: int, status: int) -> None:
    if status != wanted:
        raise Failed(f"answered {status} where {wanted} was expected")


def _send(port: int, method: str, path: str, body: bytes = b"") -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        response.read()
        return response.status
