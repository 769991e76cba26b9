"""The command line: parses words, hands on, and turns a user's mistake into one readable line."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from service_kit.extras import DISTRIBUTION
from service_kit.settings import BadSettings
from sidecar import app
from sidecar.observability.logs import configure_logging
from sidecar.observability.metrics import is_compiled
from sidecar.settings import Settings, load_settings, unknown_variables, wants_json_logs
from sidecar.tools.backfill import backfill
from sidecar.tools.check import check
from sidecar.tools.explain import explain
from sidecar.tools.load_application import NoApplication, load_application
from sidecar.tools.outbox import outbox
from sidecar.tools.probe import probe
from sidecar.tools.probe_record import unsafe_create
from sidecar.tools.profiles import profiles
from sidecar.tools.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    package_name=DISTRIBUTION, message="%(prog)s, version %(version)s" + (" (compiled)" if is_compiled() else "")
)
def main() -> None:
    """Make sure that a session exists before a write reaches the memory service."""


@main.command()
def serve() -> None:
    """Run the sidecar alone."""
    sys.exit(app.run(_settings(), warnings=unknown_variables()))


@main.command()
@click.argument("application", metavar="MODULE:APP")
def wrap(application: str) -> None:
    """Serve an ASGI application under the guard, in one process.

    MODULE is imported from the working directory or the Python path; APP is the application in it.
    """
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
    log = configure_logging("json", "sidecar") if wants_json_logs() else None
    for problem in problems:
        if log is None:
            click.echo(f"session-sidecar: {problem}", err=True)
        else:
            log.error(problem)


main.add_command(backfill)
main.add_command(check)
main.add_command(explain)
main.add_command(outbox)
main.add_command(probe)
main.add_command(profiles)
main.add_command(up)

if __name__ == "__main__":
    main(prog_name="session-sidecar")
