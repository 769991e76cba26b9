"""The command line that both services have: `serve`, and `migrate` with `--to` and `--report`.

A user's mistake is one readable line for each problem and exit code 2; a database that cannot be reached is 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NoReturn, Protocol, TypeVar

import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.types import ASGIApp

from service_kit.logs import configure_logging
from service_kit.process.extras import DISTRIBUTION
from service_kit.process.serving import serve
from service_kit.progress import progress_on_stderr
from service_kit.service_settings import ServiceSettings
from service_kit.settings import BadSettings, load, unknown_variables, variable
from service_kit.sql.migration_log import MigrationLog
from service_kit.sql.migrations import Migrations
from service_kit.sql.report import Reader, Write, reading

SettingsType = TypeVar("SettingsType", bound=ServiceSettings)


class Served(Protocol):
    """An application with what is to happen before its serving ends."""

    @property
    def app(self) -> ASGIApp:
        """What is served."""
        ...

    async def stopping(self) -> None:
        """Runs first thing when asked to stop; ends streams that would never end by themselves."""
        ...


@dataclass(frozen=True)
class Program(Generic[SettingsType]):
    """One service as its command line knows it.

    `name` is the program's and its role's, `package` holds the migrations, `report` writes what `--report` says.
    """

    name: str
    about: str
    package: str
    version_table: str
    settings: type[SettingsType]
    build: Callable[[SettingsType], Served]
    report: Callable[[Reader, Write], Awaitable[None]]

    def commands(self) -> click.Group:
        """The commands of this service."""
        group = click.Group(self.name, help=self.about, context_settings={"help_option_names": ["-h", "--help"]})
        click.version_option(package_name=DISTRIBUTION, prog_name=self.name)(group)
        report = click.Option(["--report"], is_flag=True, help="Change nothing; say what is unusual about the ids.")
        to = click.Option(
            ["--to"], default="head", show_default=True, help="A revision, or base; to an older one it downgrades."
        )
        group.add_command(click.Command("serve", callback=self._serve, help=_SERVE))
        group.add_command(click.Command("migrate", callback=self._migrate, params=[to, report], help=_MIGRATE))
        return group

    def _serve(self) -> None:
        settings = self._load()
        for line in self._unknown_variables():
            click.echo(f"{self.name}: warning: {line}", err=True)
        with self._readable_failures():
            current = asyncio.run(self._migrations(settings).is_current())
        if not current:
            self._fail(f"the database schema is not the one of this version: run {self.name} migrate", 2)
        service, registration = self.build(settings), settings.registration()

        async def stopping() -> None:
            if registration is not None:
                await registration.stop()
            await service.stopping()

        on_started = None if registration is None else registration.start
        raise SystemExit(serve(service.app, settings.listen, self.name, on_started=on_started, on_stopping=stopping))

    def _migrate(self, to: str, report: bool) -> None:
        settings = self._load()
        with self._readable_failures():
            if report:
                asyncio.run(self._report(settings))
                return
            started = time.monotonic()
            with progress_on_stderr() as show:
                log = MigrationLog(on_progress=show)
                asyncio.run(self._migrations(settings, log).move(to))
            for line in log.lines(time.monotonic() - started):
                click.echo(line)

    async def _report(self, settings: SettingsType) -> None:
        async with reading(settings.database_url, settings.database_schema) as database:
            await self.report(database, click.echo)

    def _migrations(self, settings: SettingsType, log: MigrationLog | None = None) -> Migrations:
        return Migrations(self.package, settings.database_url, settings.database_schema, self.version_table, log)

    def _unknown_variables(self) -> list[str]:
        """Tell misspelt variables: names that begin as the address's or the database's do, and are none of ours."""
        service = variable(self.settings, "listen").removesuffix("LISTEN")
        database = variable(self.settings, "database_url").removesuffix("URL")
        # Clients of the service find it by this name.
        return unknown_variables(self.settings, [service, database], also_known=[f"{service}URL"])

    def _load(self) -> SettingsType:
        configure_logging(None, self.name)
        try:
            return load(self.settings)
        except BadSettings as bad:
            self._fail(str(bad), 2)

    @contextlib.contextmanager
    def _readable_failures(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            self._fail(str(error), 2)
        except DBAPIError as error:
            self._fail(f"the database refused: {error.orig}", 1)
        except SQLAlchemyError as error:
            self._fail(f"the schema of the database is not one that can be taken over: {error}", 1)
        except OSError as error:
            self._fail(f"the database cannot be reached: {error}", 1)

    def _fail(self, message: str, code: int) -> NoReturn:
        for line in message.splitlines():
            click.echo(f"{self.name}: {line}", err=True)
        raise SystemExit(code)


_SERVE = "Serve until SIGTERM or Ctrl-C. Settings come from the environment and from .env."
_MIGRATE = "Bring the schema to a revision, the newest by default, and say what became of the rows; may be repeated."
