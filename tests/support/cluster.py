"""The services as separate real processes on fixed free ports, so that each can be killed, frozen and brought back."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.migrated import migrate
from tests.support.ports import free_ports
from tests.support.processes import Running


class Service:
    """One process that comes back at the same address."""

    def __init__(
        self, package: str, role: str, env: Mapping[str, str], cwd: Path, command: Sequence[str] = ("serve",)
    ) -> None:
        self._package = package
        self._role = role
        self._env = env
        self._cwd = cwd
        self._command = command
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        """The process as it runs now."""
        assert self._running is not None
        return self._running

    def start(self) -> None:
        """Start and wait until it is ready."""
        self._running = Running([sys.executable, "-m", self._package, *self._command], self._env, self._cwd)
        self._running.wait_ready(self._role)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._running is not None:
            self._running.kill()
            self._running.close()

    def freeze(self) -> None:
        """Stop it from doing anything while its sockets stay open."""
        os.kill(self.running.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.running.process.pid, signal.SIGCONT)


class Cluster:
    """Session service, memory service and sidecar, each reachable at a port known before it starts."""

    def __init__(self, cwd: Path, session_database: str, memory_database: str) -> None:
        self.session_port, self.memory_port, self.sidecar_port, self.admin_port = free_ports(4)
        self._cwd = cwd
        self._databases = {"session_service": session_database, "memory_service": memory_database}
        self.sessions = self._service(
            "session_service",
            "session-service",
            SESSION_SERVICE_LISTEN=f"127.0.0.1:{self.session_port}",
            SESSION_DATABASE_URL=session_database,
        )
        self.memories = self._service(
            "memory_service",
            "memory-service",
            MEMORY_SERVICE_LISTEN=f"127.0.0.1:{self.memory_port}",
            MEMORY_DATABASE_URL=memory_database,
        )
        self.sidecar = self._service("sidecar", "sidecar")

    def configure_sidecar(self, *command: str, **env: str) -> None:
        """Say how the sidecar is to run, `serve` if nothing else is said; takes effect at its next start."""
        self.sidecar = self._service(
            "sidecar",
            "sidecar",
            *command,
            SIDECAR_LISTEN=f"127.0.0.1:{self.sidecar_port}",
            SIDECAR_ADMIN=f"127.0.0.1:{self.admin_port}",
            **env,
        )

    @contextlib.contextmanager
    def services_up(self) -> Iterator[None]:
        """Run session and memory service, and end all three at the end."""
        try:
            # In threads: the caller may have an event loop.
            with ThreadPoolExecutor() as apart:
                for package, database in self._databases.items():
                    apart.submit(migrate, package, database).result()
                list(apart.map(Service.start, (self.sessions, self.memories)))
            yield
        finally:
            for service in (self.sidecar, self.memories, self.sessions):
                service.kill()

    def _service(self, package: str, role: str, *command: str, **env: str) -> Service:
        return Service(package, role, env, self._cwd, command or ("serve",))
