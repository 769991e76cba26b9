"""How often a POST reaches the upstream before the GET that its client sent just before it on another connection.

HTTP gives no order between connections. A client of streamable MCP counts on one all the same: the server sends its own
requests over the stream of the GET, and loses those that it makes before the GET is there.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.arrivals import KEPT, TAKEN
from benchmarks.bench import Bench
from benchmarks.figures import overtakings
from benchmarks.lineup import DIRECT, FAST_PATH_OFF, NGINX_PLAIN, SIDECAR
from benchmarks.openloop import Connection
from benchmarks.processes import FIXED_CORE, Pinned, free_port, get
from benchmarks.samples import Sample
from benchmarks.stage import PYTHONPATH, Running, Stage

CASE = "overtaking"
CONTENDERS = (DIRECT, NGINX_PLAIN, SIDECAR, FAST_PATH_OFF)
PAIRS = 400
PAUSE_S, ACCEPTED_AFTER_S, ANSWERED_WITHIN_S = 0.001, 0.005, 10.0
GET = "GET {kept}{number} HTTP/1.1\r\nHost: benchmark\r\n\r\n"
POST = (
    "POST {kept}{number} HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
)


def run(bench: Bench) -> None:
    with _recording_upstream(bench.stage) as stage:
        for number, contender in bench.turns(CONTENDERS, CONTENDERS, bench.options.rounds):
            bench.say(f"overtaking, round {number + 1} of {bench.options.rounds}: {contender.name}")
            with stage.running(contender) as running:
                bench.samples.add(_sample(stage, running, number))


@contextlib.contextmanager
def _recording_upstream(stage: Stage) -> Iterator[Stage]:
    """The same stage with the upstream that keeps the order."""
    port = free_port()
    argv = [stage.words["python"], "-m", "benchmarks.arrivals", str(port)]
    process = Pinned("arrivals", argv, FIXED_CORE, stage.folder, PYTHONPATH)
    try:
        process.wait_until_answering(port)
        yield replace(stage, upstream=port)
    finally:
        process.stop()


def _sample(stage: Stage, running: Running, number: int) -> Sample:
    figures: dict[str, float] = {}
    why = ""
    for name, anew in (("overtaken_on_new", True), ("overtaken_on_kept", False)):
        get(stage.upstream, TAKEN)
        _send_pairs(running.port, anew=anew)
        arrived: list[int] = json.loads(get(stage.upstream, TAKEN))
        if sorted(arrived) == list(range(2 * PAIRS)):
            figures[name] = overtakings(arrived)
        else:
            why = f"{len(arrived)} of {2 * PAIRS} requests arrived"
    return Sample(CASE, running.contender.name, number, figures, why)


def _send_pairs(port: int, *, anew: bool) -> None:
    """A GET on one connection, at once a POST on another, both answers; the GET's is new for each pair, or kept."""
    with contextlib.ExitStack() as stack:
        first, second = _connected(port, stack), _connected(port, stack)
        for number in range(0, 2 * PAIRS, 2):
            if anew:
                first.socket.close()
                first = _connected(port, stack)
                time.sleep(ACCEPTED_AFTER_S)
            earlier = GET.format(kept=KEPT, number=number).encode()
            later = POST.format(kept=KEPT, number=number + 1).encode()
            first.send(earlier, due=0.0)
            second.send(later, due=0.0)
            for each in (first, second):
                while not each.receive():
                    pass
            time.sleep(PAUSE_S)


def _connected(port: int, stack: contextlib.ExitStack) -> Connection:
    connection = Connection(port)
    connection.socket.settimeout(ANSWERED_WITHIN_S)
    stack.callback(connection.socket.close)
    return connection
