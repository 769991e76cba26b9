"""The open-loop generator: one request every 1/rate seconds, independent of the responses, on the fixed core.

A latency runs from the moment a request was due, not from when a connection came free for it, so a stall counts for
every request that it delayed (no coordinated omission). It waits in select(2), whose time-outs are in microseconds;
what it costs itself is the direct connection's latency.

Arguments: port, template file, requests a second, seconds, known sessions. Prints one line of JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import httptools

from benchmarks.figures import percentile
from benchmarks.wire import Template

CONNECTIONS, WARM_UP_S = 32, 1.0
PR_SET_TIMERSLACK = 29


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._complete = False
        self._parser = httptools.HttpResponseParser(self)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        self.due, self._complete = due, False
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what is there; whether the response is complete. Raises ConnectionError at end of file."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the connection was closed under a request")
        self._parser.feed_data(data)
        return self._complete

    def succeeded(self) -> bool:
        return 200 <= self._parser.get_status_code() < 300

    def on_message_complete(self) -> None:
        self._complete = True


@dataclass(slots=True)
class Log:
    """Seconds from due to answered, the warm-up left out."""

    latencies: list[float] = field(default_factory=list)
    answered: int = 0
    failed: int = 0


def run(port: int, requests: list[bytes], rate: float, seconds: float) -> Log:
    """Send at the rate until the time is over and everything is answered."""
    idle = deque(Connection(port) for _ in range(CONNECTIONS))
    busy: set[Connection] = set()
    log = Log()
    clock = time.perf_counter
    begin = clock() + 0.05
    total, sent = int(rate * (seconds + WARM_UP_S)), 0
    while log.answered < total:
        while sent < total and idle and (due := begin + sent / rate) <= clock():
            connection = idle.popleft()
            connection.send(requests[sent % len(requests)], due)
            busy.add(connection)
            sent += 1
        wait = max(0.0, begin + sent / rate - clock()) if idle and sent < total else 5.0
        for connection in select.select(busy, (), (), wait)[0]:
            if connection.receive():
                busy.remove(connection)
                idle.append(connection)
                _note(log, connection, clock(), begin)
    return log


def _note(log: Log, connection: Connection, now: float, begin: float) -> None:
    log.answered += 1
    log.failed += not connection.succeeded()
    if connection.due >= begin + WARM_UP_S:
        log.latencies.append(now - connection.due)


def main(port: str, template: str, rate: str, seconds: str, sessions: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    numbers = list(range(int(sessions)))
    random.shuffle(numbers)
    # As bytes, since reading text would make bare LF of every CRLF.
    text = Template(Path(template).read_bytes().decode())
    requests = [text.fill(number) for number in numbers]
    gc.disable()
    log = run(int(port), requests, float(rate), float(seconds))
    figures = {f"p{name}_ms": percentile(log.latencies, at) * 1e3 for name, at in PERCENTILES.items()}
    print(json.dumps({"answered": log.answered, "failed": log.failed, **figures}))


PERCENTILES = {"50": 50, "99": 99, "999": 99.9}

if __name__ == "__main__":
    main(*sys.argv[1:])
