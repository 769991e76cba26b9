"""The command line: `session-service serve` and `session-service migrate`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import click

from service_kit.migrations import Migrations
from service_kit.serving import serve as serve_app
from service_kit.settings import BadSettings, load
from session_service.app import SessionService
from session_service.report import write_report
from session_service.settings import VERSION_TABLE, Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keep sessions: who owns them, whether they live, and tell others when that changes."""


@main.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C. Settings come from the environment (SESSION_…, CONSUL_…)."""
    settings = _settings()
    with _readable_failures():
        current = asyncio.run(_migrations(settings).is_current())
    if not current:
        _fail("the database schema is not the one of this version: run session-service migrate", 2)
    service = SessionService(settings)
    code = serve_app(
        service.app,
        settings.listen,
        "session-service",
        on_started=service.started,
        on_stopping=service.stopping,
    )
    raise SystemExit(code)


@main.command()
@click.option("--to", "revision", default="head", show_default=True, help="A revision, or base; older ones downgrade.")
@click.option(
    "--report", is_flag=True, help="Change nothing; say which ids have no usual format, and what is orphaned."
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
    return Migrations("session_service", settings.database_url, settings.database_schema, VERSION_TABLE)


def _settings() -> Settings:
    try:
        return load(Settings)
    except BadSettings as bad:
        _fail(str(bad), 2)
        raise


@contextlib.contextmanager
def _readable_failures() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        _fail(str(error), 2)


def _fail(message: str, code: int) -> None:
    click.echo(f"session-service: {message}", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main(prog_name="session-service")
