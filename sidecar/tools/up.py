"""`session-sidecar up`: all three processes on one machine, started in order, watched, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from service_kit.address import Address, Tcp, Unix, parse_address
from service_kit.extras import require_extra
from service_kit.settings import env_file_values
from sidecar.tools.tool import Failed, Tool

STOP_GRACE = 10.0
"""Seconds that a process gets beyond its own drain before it is killed."""


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class ChildFailed(Exception):
    """A process ended before it was asked to; it has said why on stderr itself."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process and the addresses of its ready line."""

    role: str
    process: asyncio.subprocess.Process
    addresses: dict[str, str] = field(default_factory=dict)


@click.command(cls=Tool)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where the SQLite databases and the outbox live.",
)
def up(data_dir: Path) -> None:
    """Run the session service, the memory service and the sidecar on this machine."""
    require_extra("services", "session-sidecar up")
    data_dir = data_dir.absolute()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"cannot use {data_dir}: {error.strerror}", code=1) from None
    sys.exit(asyncio.run(_up(data_dir)))


async def _up(data_dir: Path) -> int:
    platform = _Platform(_with_defaults(data_dir))
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, platform.stopping.set)
    try:
        await platform.start()
        if not platform.stopping.is_set():
            _announce(platform.running, data_dir)
        return await platform.watch()
    except ChildFailed:
        return 1
    finally:
        # A second signal kills.
        for number in _SIGNALS:
            loop.add_signal_handler(number, platform.kill)
        await platform.stop()


def _with_defaults(data_dir: Path) -> dict[str, str]:
    """The environment of all three: what the user set wins over what `--data-dir` implies."""
    derived = {
        "SESSION_DATABASE_URL": f"sqlite:///{data_dir}/sessions.db",
        "MEMORY_DATABASE_URL": f"sqlite:///{data_dir}/memories.db",
        "SIDECAR_OUTBOX": f"{data_dir}/outbox.db",
        "SIDECAR_LOG": "console",
        "PYTHONUNBUFFERED": "1",
    }
    return derived | env_file_values() | os.environ


class _Platform:
    """The processes, in the order in which they were started."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.running: list[Child] = []
        self.stopping = asyncio.Event()
        self._environment = environment

    async def start(self) -> None:
        """Start all, unless a signal comes first. Raises ChildFailed."""
        environment = self._environment
        await asyncio.gather(_migrate("session_service", environment), _migrate("memory_service", environment))
        await self._start("session-service", environment)
        await self._start("memory-service", environment)
        if self.stopping.is_set():
            return
        session, memory = self.running
        derived = {"SIDECAR_UPSTREAM": _url(memory.addresses["listen"])}
        if token := environment.get("SESSION_SERVICE_TOKEN"):
            derived["SIDECAR_SESSION_SERVICE_TOKEN"] = token
        if "SESSION_SERVICE_URL" not in environment:
            derived["SIDECAR_SESSION_SERVICE"] = _url(session.addresses["listen"])
        await self._start_sidecars(derived | environment)

    async def watch(self) -> int:
        """Wait for a signal (0) or for a process that ended by itself (1)."""
        ends = [asyncio.ensure_future(child.process.wait()) for child in self.running]
        stopped = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({stopped, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for child, end in zip(self.running, ends, strict=True):
            if end.done() and not self.stopping.is_set():
                click.echo(f"session-sidecar: the {child.role} ended by itself with code {end.result()}", err=True)
        for task in (stopped, *ends):
            task.cancel()
        return 0 if self.stopping.is_set() else 1

    async def stop(self) -> None:
        """The sidecar first, so that no write is accepted that could not be stored."""
        for child in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
            try:
                await asyncio.wait_for(child.process.wait(), STOP_GRACE if child.role != "sidecar" else None)
            except TimeoutError:
                child.process.kill()
                await child.process.wait()

    def kill(self) -> None:
        """End all at once."""
        for child in self.running:
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()

    async def _start_sidecars(self, environment: dict[str, str]) -> None:
        """Start one sidecar, or with SIDECAR_REUSE_PORT one for each core.

        All listen where the first does. Each has an outbox of its own, and all but the first a free port as admin
        address.
        """
        await self._start("sidecar", environment)
        if environment.get("SIDECAR_REUSE_PORT") != "true" or self.stopping.is_set():
            return
        first = self.running[-1].addresses
        outbox = Path(environment["SIDECAR_OUTBOX"])
        for number in range(2, _cores() + 1):
            own = {
                "SIDECAR_LISTEN": first["listen"],
                "SIDECAR_ADMIN": _another(parse_address(first["admin"]), number),
                "SIDECAR_OUTBOX": str(outbox.with_stem(f"{outbox.stem}-{number}")),
            }
            await self._start("sidecar", environment | own)

    async def _start(self, role: str, environment: Mapping[str, str]) -> None:
        """Start one process and wait for its ready line, for its end or for a signal, whichever comes first."""
        if self.stopping.is_set():
            return
        # A session of its own: Ctrl-C on a terminal goes to every process of the group, and would end them in no order.
        command = [sys.executable, "-m", role.replace("-", "_"), "serve"]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        child = Child(role, process)
        self.running.append(child)
        ready = asyncio.ensure_future(_ready_line(process))
        stopped = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ready.done():
            ready.cancel()
            return
        if not ready.result():
            await process.wait()
            raise ChildFailed(role)
        click.echo(ready.result())
        words = (word.partition("=") for word in ready.result().split()[1:])
        child.addresses.update((name, value) for name, _, value in words)


async def _migrate(package: str, environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", package, "migrate", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise ChildFailed(package)


async def _ready_line(process: asyncio.subprocess.Process) -> str:
    """The ready line, or an empty string where the process ended without one."""
    assert process.stdout is not None  # noqa: S101 # it was started with a pipe
    while line := await process.stdout.readline():
        if line.startswith(b"ready "):
            return line.decode().strip()
        sys.stdout.buffer.write(line)
    return ""


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _another(address: Address, number: int) -> str:
    return str(Tcp(address.host, 0) if isinstance(address, Tcp) else Unix(f"{address.path}-{number}"))


def _url(listen: str) -> str:
    """The URL at which this machine reaches what listens there."""
    address: Address = parse_address(listen)
    if isinstance(address, Tcp):
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # compared with, not bound
        return f"http://{Tcp(anywhere.get(address.host, address.host), address.port)}"
    return str(address)


def _announce(running: list[Child], data_dir: Path) -> None:
    session, memory, sidecar, *others = (child.addresses for child in running)
    click.echo(
        f"ready role=up listen={sidecar['listen']} admin={sidecar['admin']}"
        f" memory-service={memory['listen']} session-service={session['listen']}"
    )
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_row("sidecar", _url(sidecar["listen"]), "where memory clients connect")
    table.add_row("memory service", _url(memory["listen"]), f"{_url(memory['listen'])}/docs")
    table.add_row("session service", _url(session["listen"]), f"{_url(session['listen'])}/docs")
    table.add_row("dashboard", _url(sidecar["admin"]), f"{_url(sidecar['admin'])}/metrics")
    for other in others:
        table.add_row("", _url(other["admin"]), f"{_url(other['admin'])}/metrics")
    table.add_row("data", str(data_dir), "SQLite")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print("\nTry it: store a message in a session that does not exist yet, then look the session up.\n")
    click.echo(_curl(sidecar["listen"], session["listen"]))
    console.print("\nCtrl-C stops all of them.")


def _curl(sidecar: str, session: str) -> str:
    body = '{"user_id": "me", "session_id": "first-steps", "message_content": "Hello"}'
    store = f"{_curl_target(sidecar)}/api/v1/memories/session/store -H 'Content-Type: application/json' -d '{body}'"
    return f"curl {store} && curl {_curl_target(session)}/api/v1/sessions/first-steps"


def _curl_target(listen: str) -> str:
    address = parse_address(listen)
    return _url(listen) if isinstance(address, Tcp) else f"--unix-socket {address.path} http://localhost"
