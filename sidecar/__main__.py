"""The command line: parses words, hands on, and turns a user's mistake into one readable line."""

from __future__ import annotations

import importlib
import sys
from typing import Final, NoReturn

import click

from service_kit.extras import DISTRIBUTION
from service_kit.optional_imports import not_found
from service_kit.settings import BadSettings
from sidecar.observability.metrics import is_compiled
from sidecar.settings import Settings, load_settings, unknown_variables, wants_json_logs
from sidecar.tools.probe.record import unsafe_create

_TOOLS: Final = {
    "backfill": "backfill.command",
    "check": "check.command",
    "explain": "explain.command",
    "outbox": "outbox",
    "probe": "probe.command",
    "profiles": "profiles",
    "up": "up",
}
"""Commands and their modules in `sidecar.tools`; each is a function of its name."""

_NOT_SERVED: Final = ("greenlet", "httpx._main", "rich")
"""What structlog and httpx import where it is installed, and `serve` never uses: tables and colours, coroutines of
another kind, httpx's command line. They cost a sixth of the time to start and 6 MB."""


class _Commands(click.Group):
    """The commands; the module of a tool is imported when it is asked for, so that `serve` does not pay for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        return sorted([*super().list_commands(ctx), *_TOOLS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Give a command; None where there is no such."""
        if cmd_name not in _TOOLS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(f"sidecar.tools.{_TOOLS[cmd_name]}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    package_name=DISTRIBUTION, message="%(prog)s, version %(version)s" + (" (compiled)" if is_compiled() else "")
)
def main() -> None:
    """Make sure that a session exists before a write reaches the memory service."""


@main.command()
def serve() -> None:
    """Run the sidecar alone."""
    with not_found(*_NOT_SERVED):
        from sidecar import app  # noqa: PLC0415 # no tool needs it

    sys.exit(app.run(_settings(), warnings=unknown_variables()))


@main.command()
@click.argument("application", metavar="MODULE:APP")
def wrap(application: str) -> None:
    """Serve an ASGI application under the guard, in one process.

    MODULE is imported from the working directory or the Python path; APP is the application in it.
    """
    from sidecar import app  # noqa: PLC0415 # no tool needs it
    from sidecar.tools.load_application import NoApplication, load_application  # noqa: PLC0415

    settings = _settings()
    try:
        hosted = load_application(application)
    except NoApplication as error:
        _fail([str(error)])
    sys.exit(app.run(settings, warnings=unknown_variables(), hosted=hosted))


def _settings() -> Settings:
    """Read the settings; what keeps the sidecar from starting ends the process."""
    try:
        settings = load_settings()
    except BadSettings as bad:
        _fail(bad.problems)
    if (harm := unsafe_create(settings)) is not None:
        _fail([harm])
    return settings


def _fail(problems: list[str]) -> NoReturn:
    _report(problems)
    sys.exit(2)


def _report(problems: list[str]) -> None:
    """Say what keeps the sidecar from starting: for a person, unless the environment wants JSON."""
    from sidecar.observability.logs import configure_logging  # noqa: PLC0415 # `serve` imports structlog its own way

    log = configure_logging("json", "sidecar") if wants_json_logs() else None
    for problem in problems:
        if log is None:
            click.echo(f"session-sidecar: {problem}", err=True)
        else:
            log.error(problem)


if __name__ == "__main__":
    main(prog_name="session-sidecar")
