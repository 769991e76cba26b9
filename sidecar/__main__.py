"""The command line: parses words, hands on, and turns a user's mistake into one readable line."""

from __future__ import annotations

import sys

import click

from service_kit.settings import BadSettings
from sidecar import app
from sidecar.settings import Settings, effective, load_settings, unknown_variables
from sidecar.tools.backfill import backfill
from sidecar.tools.outbox import outbox
from sidecar.tools.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="session-sidecar")
def main() -> None:
    """Make sure that a session exists before a write reaches the memory service."""


@main.command()
def serve() -> None:
    """Run the sidecar alone."""
    settings = _settings()
    for line in unknown_variables():
        click.echo(f"session-sidecar: warning: {line}", err=True)
    sys.exit(app.run(settings))


@main.command()
@click.option("--strict", is_flag=True, help="Make an unknown SIDECAR_* variable an error.")
def check(*, strict: bool) -> None:
    """Validate the configuration and print what is in effect."""
    unknown = unknown_variables()
    settings = _settings(also_wrong=unknown if strict else [])
    for name, value in effective(settings):
        click.echo(f"{name}={value}")
    for rule in settings.profile.unreachable_rules():
        click.echo(f"session-sidecar: profile {settings.profile.name}: can never match: {rule}", err=True)
    if not strict:
        for line in unknown:
            click.echo(f"session-sidecar: warning: {line}", err=True)


def _settings(also_wrong: list[str] | None = None) -> Settings:
    """The settings, or exit code 2 with a line for each thing that is wrong."""
    problems = list(also_wrong or [])
    try:
        settings = load_settings()
    except BadSettings as bad:
        problems += bad.problems
    if problems:
        for problem in problems:
            click.echo(f"session-sidecar: {problem}", err=True)
        sys.exit(2)
    return settings


main.add_command(backfill)
main.add_command(outbox)
main.add_command(up)

if __name__ == "__main__":
    main(prog_name="session-sidecar")
