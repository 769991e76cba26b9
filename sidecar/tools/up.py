"""`session-sidecar up`: all three processes on one machine, started in order, watched, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from service_kit.address import Address, Tcp, Unix, parse_address
from service_kit.extras import require_extra
from service_kit.settings import env_file_values
from service_kit.signals import STOPS, hangups
from sidecar.tools.tool import Failed, Tool

STOP_GRACE = 10.0
"""Seconds that a process gets beyond its own drain before it is killed."""

_SERVICES: Final = ("session-service", "memory-service")
_PREFIXES: Final = ("SIDECAR_", "SESSION_", "MEMORY_")


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
        # Conversations are kept there: a folder that is made here is for its user alone.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"cannot use {data_dir}: {error.strerror}", code=1) from None
    sys.exit(asyncio.run(_up(data_dir)))


async def _up(data_dir: Path) -> int:
    """Run until a signal (0) or until a process cannot start or ends by itself (1)."""
    platform = _Platform(_with_defaults(data_dir))
    running = asyncio.create_task(platform.run(data_dir))
    loop = asyncio.get_running_loop()
    for number in (*STOPS, *hangups()):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return 0
    except ChildFailed:
        pass
    finally:
        # A second signal kills.
        for number in STOPS:
            loop.add_signal_handler(number, platform.kill)
        await platform.stop()
    return 1


def _with_defaults(data_dir: Path) -> dict[str, str]:
    """The environment of all three: what the user set wins over what `--data-dir` implies.

    An empty variable counts as unset, as it does for each of them.
    """
    derived = {
        "SESSION_DATABASE_URL": f"sqlite:///{data_dir}/sessions.db",
        "MEMORY_DATABASE_URL": f"sqlite:///{data_dir}/memories.db",
        "SIDECAR_OUTBOX": f"{data_dir}/outbox.db",
        "SIDECAR_LOG": "console",
        "PYTHONUNBUFFERED": "1",
    }
    given = {name: value for name, value in os.environ.items() if value or not name.startswith(_PREFIXES)}
    return derived | {name: value for name, value in env_file_values().items() if value} | given


class _Platform:
    """The processes, in the order in which they were started."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._running: list[Child] = []
        self._migrating: asyncio.Future[list[int]] | None = None

    async def run(self, data_dir: Path) -> None:
        """Start all, say where they are, and wait until one ends by itself. Raises ChildFailed."""
        await self._migrate()
        await self._start_services_and_sidecars()
        _announce(self._running, data_dir)
        ends = {asyncio.ensure_future(child.process.wait()): child for child in self._running}
        ended, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ended:
            click.echo(f"session-sidecar: the {ends[end].role} ended by itself with code {end.result()}", err=True)

    async def stop(self) -> None:
        """The sidecar first, so that no write is accepted that could not be stored."""
        for child in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
            try:
                await asyncio.wait_for(child.process.wait(), STOP_GRACE if child.role != "sidecar" else None)
            except TimeoutError:
                child.process.kill()
                await child.process.wait()
        if self._migrating is not None:
            await self._migrating

    def kill(self) -> None:
        """End all at once."""
        for child in self._running:
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()

    async def _migrate(self) -> None:
        """Bring both schemas up to date. A migration that has begun is waited for, whatever signal comes."""
        self._migrating = asyncio.gather(*(_migrated(each, self._environment) for each in _SERVICES))
        if any(await asyncio.shield(self._migrating)):
            raise ChildFailed

    async def _start_services_and_sidecars(self) -> None:
        """Start one sidecar, or with SIDECAR_REUSE_PORT one for each core.

        All listen where the first does. Each has an outbox of its own, and all but the first a free port as admin
        address.
        """
        session = await self._start("session-service", self._environment)
        memory = await self._start("memory-service", self._environment)
        derived = {"SIDECAR_UPSTREAM": _url(memory["listen"])}
        if token := self._environment.get("SESSION_SERVICE_TOKEN"):
            derived["SIDECAR_SESSION_SERVICE_TOKEN"] = token
        if "SESSION_SERVICE_URL" not in self._environment:
            derived["SIDECAR_SESSION_SERVICE"] = _url(session["listen"])
        environment = derived | self._environment
        first = await self._start("sidecar", environment)
        outbox = Path(environment["SIDECAR_OUTBOX"])
        for number in range(2, _cores() + 1) if environment.get("SIDECAR_REUSE_PORT") == "true" else ():
            own = {
                "SIDECAR_LISTEN": first["listen"],
                "SIDECAR_ADMIN": _another(parse_address(first["admin"]), number),
                "SIDECAR_OUTBOX": str(outbox.with_stem(f"{outbox.stem}-{number}")),
            }
            await self._start("sidecar", environment | own)

    async def _start(self, role: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Start one process and wait for its ready line; gives the addresses in it. Raises ChildFailed."""
        # A session of its own: Ctrl-C on a terminal goes to every process of the group, and would end them in no order.
        process = await asyncio.create_subprocess_exec(
            *_command(role, "serve"), env=environment, stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        child = Child(role, process)
        self._running.append(child)
        line = await _ready_line(process)
        if not line:
            await process.wait()
            raise ChildFailed
        click.echo(line)
        words = (word.partition("=") for word in line.split()[1:])
        child.addresses.update((name, value) for name, _, value in words)
        return child.addresses


def _command(role: str, command: str) -> list[str]:
    # -P: a file in the working directory must not be imported in the place of a package of the same name.
    return [sys.executable, "-P", "-m", role.replace("-", "_"), command]


async def _migrated(service: str, environment: Mapping[str, str]) -> int:
    """Migrate one service's schema; gives the exit code."""
    process = await asyncio.create_subprocess_exec(
        *_command(service, "migrate"), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


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
    address = parse_address(listen)
    if isinstance(address, Unix):
        return listen
    loopback = "::1" if ":" in address.host else "127.0.0.1"
    return f"http://{Tcp(loopback, address.port) if address.is_wildcard else address}"


def _announce(running: list[Child], data_dir: Path) -> None:
    session, memory, sidecar, *others = (child.addresses for child in running)
    click.echo(
        f"ready role=up listen={sidecar['listen']} admin={sidecar['admin']}"
        f" memory-service={memory['listen']} session-service={session['listen']}"
    )
    rows = [
        ("sidecar", _url(sidecar["listen"]), "where memory clients connect"),
        ("memory service", _url(memory["listen"]), f"{_url(memory['listen'])}/docs"),
        ("session service", _url(session["listen"]), f"{_url(session['listen'])}/docs"),
        *(("dashboard", _url(each["admin"]), f"{_url(each['admin'])}/metrics") for each in (sidecar, *others)),
        ("data", str(data_dir), "SQLite"),
    ]
    width = max(len(where) for _, where, _ in rows)
    for name, where, note in rows:
        click.echo(f"  {name:<15}    {where:<{width}}    {note}")
    click.echo("\nTry it: store a message in a session that does not exist yet, then look the session up.\n")
    click.echo(_curl(sidecar["listen"], session["listen"]))
    click.echo("\nCtrl-C stops all of them.")


def _curl(sidecar: str, session: str) -> str:
    body = '{"user_id": "me", "session_id": "first-steps", "message_content": "Hello"}'
    store = f"{_curl_target(sidecar)}/api/v1/memories/session/store -H 'Content-Type: application/json' -d '{body}'"
    return f"curl {store} && curl {_curl_target(session)}/api/v1/sessions/first-steps"


def _curl_target(listen: str) -> str:
    address = parse_address(listen)
    return _url(listen) if isinstance(address, Tcp) else f"--unix-socket {address.path} http://localhost"
