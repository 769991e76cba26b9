"""Serving until a signal, seen from outside: real processes and real signals."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Running, wait_until

APPLICATION = """
import asyncio, sys
from service_kit.process.address import parse_address
from service_kit.process.serving import ENDLESS, serve

stopping = asyncio.Event()
note = lambda word: print(word, file=sys.stderr, flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if "fails" in sys.argv:
            await send({"type": "lifespan.startup.failed", "message": "no luck"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        note("lifespan over")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
    if scope["path"] == "/stream":
        await stopping.wait()
    if scope["path"] == "/flood":
        scope[ENDLESS] = True
        while not stopping.is_set():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        note("flood over")
    if scope["path"] == "/for-ever":
        await asyncio.sleep(3600)
    await send({"type": "http.response.body", "body": b"done"})

async def started():
    note("started")

async def stop():
    note("stopping")
    stopping.set()

sys.exit(serve(app, parse_address(sys.argv[1]), "demo", on_started=started, on_stopping=stop, drain=float(sys.argv[2])))
"""


@contextlib.contextmanager
def serving(tmp_path: Path, listen: str = "127.0.0.1:0", drain: int = 1) -> Iterator[Running]:
    command = [sys.executable, "-c", APPLICATION, listen, str(drain)]
    process = Running(command, {"PYTHONPATH": str(Path.cwd())}, tmp_path)
    try:
        process.wait_ready("demo")
        yield process
    finally:
        process.kill()
        for pipe in (process.process.stdout, process.process.stderr):
            assert pipe is not None
            pipe.close()


def test_the_ready_line_names_role_and_address_and_is_true(tmp_path: Path) -> None:
    """A port of 0 is replaced by the one that was taken, and it answers."""
    with serving(tmp_path) as process:
        assert process.stdout == [f"ready role=demo listen={process.addresses['listen']}"]
        assert httpx.get(process.url(), trust_env=False).text == "begun done"
        wait_until(lambda: process.stderr == ["started"], "the hook's line")


@pytest.mark.usefixtures("heeding_hangups")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order_with_success(tmp_path: Path, number: signal.Signals) -> None:
    """Hook, then lifespan, then exit code 0: being asked to stop is no failure."""
    with serving(tmp_path) as process:
        assert process.stop(number) == 0
        assert process.stderr == ["started", "stopping", "lifespan over"]


def test_a_stream_that_the_hook_ends_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """A stream gets its proper end, though it would have gone on for ever."""
    with serving(tmp_path) as process, httpx.stream("GET", f"{process.url()}/stream", trust_env=False) as response:
        assert process.stop() == 0
        assert response.read() == b"begun done"


def test_a_stream_whose_client_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """It ends by itself, long before the drain time gives it up: its end could not be sent."""
    with serving(tmp_path, drain=20) as process:
        host, port = process.addresses["listen"].split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /flood HTTP/1.1\r\nHost: demo\r\n\r\n")
            assert client.recv(16)
            assert process.stop() == 0
            assert process.stderr == ["started", "stopping", "flood over", "lifespan over"]


def test_a_request_that_never_ends_is_given_up_after_the_drain_time(tmp_path: Path) -> None:
    """The stop is bounded also while requests are in flight."""
    with serving(tmp_path) as process, httpx.stream("GET", f"{process.url()}/for-ever", trust_env=False):
        assert process.stop() == 0


def test_a_second_signal_ends_it_at_once_with_failure(tmp_path: Path) -> None:
    """Who asks twice does not want to wait."""
    with serving(tmp_path) as process, httpx.stream("GET", f"{process.url()}/for-ever", trust_env=False):
        process.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in process.stderr, "the stop to begin")
        assert process.stop(signal.SIGINT) == 1
        assert "lifespan over" not in process.stderr


@pytest.mark.usefixtures("heeding_hangups")
def test_a_second_hangup_ends_it_no_sooner(tmp_path: Path) -> None:
    """Where a terminal is closed, the shell and the kernel both send one."""
    with serving(tmp_path) as process, httpx.stream("GET", f"{process.url()}/for-ever", trust_env=False):
        process.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "stopping" in process.stderr, "the stop to begin")
        assert process.stop(signal.SIGHUP) == 0
        assert "lifespan over" in process.stderr


def test_under_nohup_it_serves_on(tmp_path: Path) -> None:
    """Who ignores hangups wants the process to outlive the terminal."""
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with serving(tmp_path) as process:
            process.process.send_signal(signal.SIGHUP)
            assert httpx.get(process.url(), trust_env=False).text == "begun done"
            assert process.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, ignored)


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """It names the address, and the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        process = subprocess.run(
            [sys.executable, "-c", APPLICATION, listen, "1"], capture_output=True, text=True, check=False
        )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == f"demo: cannot listen on {listen}: the address is already in use\n"


def test_an_application_that_cannot_start_is_a_failure(tmp_path: Path) -> None:
    """Nothing claims to be ready."""
    process = subprocess.run(
        [sys.executable, "-c", APPLICATION, "127.0.0.1:0", "1", "fails"], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert "no luck" in process.stderr


def test_it_listens_on_a_unix_socket_too(tmp_path: Path) -> None:
    """The ready line names the path."""
    path = tmp_path / "demo.sock"
    with serving(tmp_path, f"unix:{path}") as process:
        assert process.addresses == {"listen": f"unix:{path}"}
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://demo/").text == "begun done"


def test_a_unix_socket_is_gone_after_a_stop(tmp_path: Path) -> None:
    """A file that stays would look to a supervisor like a process that still listens."""
    path = tmp_path / "demo.sock"
    with serving(tmp_path, f"unix:{path}") as process:
        assert process.stop() == 0
    assert not path.exists()


def test_a_stop_leaves_the_socket_of_the_process_that_came_after(tmp_path: Path) -> None:
    """The file is then another one under the same name."""
    path = tmp_path / "demo.sock"
    with serving(tmp_path, f"unix:{path}") as process:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            assert process.stop() == 0
            assert path.is_socket()
