"""Schema migrations of one service, run by Alembic in one transaction: all of them happen, or none.

A service brings nothing but `migrations/versions/*.py`. Each service has its own version table, so that two can share
one database and schema.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service_kit.sql.engine import create_engine, is_sqlite, quoted
from service_kit.sql.migration_log import ATTRIBUTE, MigrationLog

_LOCK: Final = 7_305_794_021_486_113
"""Any number will do, as long as all migrating processes ask Postgres for the same one."""


class Migrations:
    """The schema history of one service in one database.

    `log` is filled in with what becomes of the rows.
    `package` is the service's import name, `schema` the Postgres schema that holds its tables (made if missing), and
    `version_table` the name of the table that remembers the revision.
    """

    def __init__(
        self, package: str, url: str, schema: str | None, version_table: str, log: MigrationLog | None = None
    ) -> None:
        self._package = package
        self._url = url
        self._schema = schema
        self._version_table = version_table
        self._log = log or MigrationLog()

    async def move(self, to: str = "head") -> None:
        """Upgrade or downgrade, whichever leads to the revision, or to `base`; does nothing when it is there.

        Raises ValueError for an unknown revision.
        """
        async with self._migrating() as connection:
            step = command.downgrade if to in self._behind(await self._present(connection)) else command.upgrade
            await connection.run_sync(self._run, step, to)

    async def is_current(self) -> bool:
        """Whether the schema is exactly the one that this version of the service was written for."""
        async with self._connection() as connection:
            return await self._present(connection) == set(self._scripts().get_heads())

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of its own engine: a migration may take as long as it needs."""
        engine = create_engine(self._url, self._schema, statement_wait=None)
        try:
            async with engine.begin() as connection:
                yield connection
        finally:
            await engine.dispose()

    @contextlib.asynccontextmanager
    async def _migrating(self) -> AsyncIterator[AsyncConnection]:
        """One process migrates at a time. SQLite needs no more than the transaction, which began IMMEDIATE."""
        async with self._connection() as connection:
            if not is_sqlite(connection):
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                if self._schema is not None:
                    await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted(self._schema)}"))
            yield connection

    def _run(self, connection: Connection, step: Callable[[Config, str], None], to: str) -> None:
        config = self._config()
        config.attributes.update({"connection": connection, "version_table": self._version_table, ATTRIBUTE: self._log})
        try:
            step(config, to)
        except CommandError as error:
            raise ValueError(str(error)) from error

    async def _present(self, connection: AsyncConnection) -> set[str]:
        """The revisions that the schema is at; empty where nothing was ever migrated."""
        options = {"version_table": self._version_table}
        return await connection.run_sync(
            lambda sync: set(MigrationContext.configure(sync, opts=options).get_current_heads())
        )

    def _behind(self, present: set[str]) -> set[str]:
        """Every revision that lies before the present ones."""
        if not present:
            return set()
        scripts = self._scripts()
        passed = {found.revision for head in present for found in scripts.iterate_revisions(head, "base")}
        return passed - present | {"base"}

    def _scripts(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self._config())

    def _config(self) -> Config:
        config = Config()
        config.set_main_option("path_separator", "newline")
        config.set_main_option("script_location", _escaped(files("service_kit.sql") / "alembic_env"))
        config.set_main_option("version_locations", _escaped(files(self._package) / "migrations" / "versions"))
        return config


def _escaped(path: object) -> str:
    """A path as an option of a configuration file, where a percent sign has a meaning."""
    return str(Path(str(path))).replace("%", "%%")
