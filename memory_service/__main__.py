"""The command line: `memory-service serve` and `memory-service migrate`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import NoReturn

import click
from sqlalchemy.exc import DBAPIError

from memory_service.app import MemoryApp
from memory_service.report import write_report
from memory_service.settings import VERSION_TABLE, Settings
from service_kit.database import Database
from service_kit.migrations import Migrations
from service_kit.serving import serve as serve_app
from service_kit.settings import BadSettings, load


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keep memories and find them again, over REST and MCP."""


@main.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C. Settings come from the environment (MEMORY_…, CONSUL_…)."""
    settings = _settings()
    with _readable_failures():
        current = asyncio.run(_migrations(settings).is_current())
    if not current:
        _fail("the database schema is not the one of this version: run memory-service migrate", 2)
    app = MemoryApp(Database(settings.database_url, settings.database_schema), settings.registration())
    raise SystemExit(
        serve_app(app, settings.listen, "memory-service", on_started=app.started, on_stopping=app.stopping)
    )


@main.command()
@click.option("--to", "revision", default="head", show_default=True, help="A revision, or base; older ones downgrade.")
@click.option(
    "--report", is_flag=True, help="Change nothing; say which ids have no usual format, and what is quarantined."
)
def migrate(revision: str, report: bool) -> None:
    """Bring the database schema to a revision, the newest by default. Repeating it changes nothing."""
    settings = _settings()
    with _readable_failures():
        if report:
            asyncio.run(write_report(settings.database_url, settings.database_schema, click.echo))
        else:
            asyncio.run(_migrations(settings).move(revision))


def _migrations(settings: Settings) -> Migrations:
    return Migrations("memory_service", settings.database_url, settings.database_schema, VERSION_TABLE)


def _settings() -> Settings:
    try:
        return load(Settings)
    except BadSettings as bad:
        _fail(str(bad), 2)


@contextlib.contextmanager
def _readable_failures() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        _fail(str(error), 2)
    except DBAPIError as error:
        _fail(f"the database refused: {error.orig}", 1)
    except OSError as error:
        _fail(f"the database cannot be reached: {error}", 1)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"memory-service: {line}", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main(prog_name="memory-service")
