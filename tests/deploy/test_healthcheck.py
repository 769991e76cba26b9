"""The health check of the image, as its container runs it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_kit.process.address import Address, Tcp, Unix, bound_address, listening
from tests.support.deployment import DEPLOY


def check(*arguments: str, admin: str = "") -> subprocess.CompletedProcess[str]:
    """Run it in an environment that names a proxy, which it must not use."""
    env = {"SIDECAR_ADMIN": admin, "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, str(DEPLOY / "healthcheck.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(params=["200 OK", "503 Service Unavailable", "nonsense"])
def answer(request: pytest.FixtureRequest) -> str:
    """The status line that the sidecar answers with, or something that is none."""
    return str(request.param)


@pytest.fixture(params=["tcp", "unix"])
def admin(request: pytest.FixtureRequest, answer: str, tmp_path: Path) -> Iterator[Address]:
    """Where something answers one request in that way."""
    with listening(Tcp("127.0.0.1", 0) if request.param == "tcp" else Unix(f"{tmp_path}/admin.sock")) as listener:
        listener.setblocking(True)
        thread = threading.Thread(target=_answer_one, args=(listener, answer))
        thread.start()
        yield bound_address(listener)
        with contextlib.suppress(OSError), socket.socket(listener.family) as unasked:
            unasked.connect(listener.getsockname())
            unasked.sendall(b"never mind")
        thread.join()


def _answer_one(listener: socket.socket, answer: str) -> None:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionError):
        asked = connection.recv(4096)
        line = f"HTTP/1.1 {answer}" if asked.startswith(b"GET /readyz HTTP/1.1\r\n") else "HTTP/1.1 404 Not Found"
        connection.sendall(f"{line}\r\nContent-Length: 0\r\n\r\n".encode())


def test_it_asks_the_sidecar_of_its_container(admin: Address, answer: str) -> None:
    """Whatever kind of address it has; all but a 200 is a failure that is told in one line."""
    done = check(admin=str(admin))
    assert (done.returncode, len(done.stderr.splitlines())) == ((0, 0) if answer == "200 OK" else (1, 1))


@pytest.mark.parametrize("admin", ["tcp"], indirect=True)
@pytest.mark.parametrize("wildcard", ["0.0.0.0", "[::]"])
def test_a_wildcard_is_asked_over_loopback(admin: Tcp, answer: str, wildcard: str) -> None:
    """No connection goes to an address that stands for all."""
    assert check(admin=f"{wildcard}:{admin.port}").returncode == (0 if answer == "200 OK" else 1)


@pytest.mark.parametrize("admin", ["tcp"], indirect=True)
def test_it_asks_another_program_by_its_url(admin: Tcp, answer: str) -> None:
    """The services of the same image have another address and path."""
    assert check(f"http://{admin}/readyz").returncode == (0 if answer == "200 OK" else 1)


@pytest.mark.parametrize("nowhere", ["127.0.0.1:1", "unix:/nowhere/admin.sock"])
def test_where_nothing_listens_it_fails_in_one_line(nowhere: str) -> None:
    """A container that starts is not healthy yet."""
    done = check(admin=nowhere)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith(nowhere)
