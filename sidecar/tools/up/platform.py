"""The processes of `session-sidecar up`: started in order, watched, and stopped in reverse order."""

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

from service_kit.process.address import Address, Tcp, Unix, local_url, parse_address

STOP_GRACE: Final = 10.0
"""Seconds that a process gets beyond its own drain before it is killed."""

_SERVICES: Final = ("session-service", "memory-service")


class ChildFailed(Exception):
    """A process ended before it was asked to; it has said why on stderr itself."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process and the addresses of its ready line."""

    role: str
    process: asyncio.subprocess.Process
    addresses: dict[str, str] = field(default_factory=dict)


class Platform:
    """The processes. `environment` is that of all of them, with the databases and the outbox of this machine in it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._running: list[Child] = []
        self._migrating: asyncio.Future[list[int]] | None = None

    @property
    def addresses(self) -> list[dict[str, str]]:
        """What each process said in its ready line, in order: session service, memory service, sidecars."""
        return [child.addresses for child in self._running]

    async def start(self) -> None:
        """Start all. Raises ChildFailed."""
        await self._migrate()
        await self._start_services_and_sidecars()

    async def watch(self) -> None:
        """Wait until a process ends by itself, and tell which."""
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
        """Bring both schemas up to date. A migration that has begun is waited for, also after a signal."""
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
        derived = {"SIDECAR_UPSTREAM": local_url(memory["listen"])}
        if token := self._environment.get("SESSION_SERVICE_TOKEN"):
            derived["SIDECAR_SESSION_SERVICE_TOKEN"] = token
        if "SESSION_SERVICE_URL" not in self._environment:
            derived["SIDECAR_SESSION_SERVICE"] = local_url(session["listen"])
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
