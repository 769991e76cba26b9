"""The command line: parses words, hands on, and turns a user's mistake into one readable line."""

from __future__ import annotations

import sys

import click

from service_kit.extras import DISTRIBUTION
from service_kit.settings import BadSettings
from sidecar import app
from sidecar.settings import load_settings, unknown_variables
from sidecar.tools.backfill import backfill
from sidecar.tools.check import check
from sidecar.tools.outbox import outbox
from sidecar.tools.profiles import profiles
from sidecar.tools.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Make sure that a session exists before a write reaches the memory service."""


@main.command()
def serve() -> None:
    """Run the sidecar alone."""
    try:
        settings = load_settings()
    except BadSettings as bad:
        for problem in bad.problems:
            click.echo(f"session-sidecar: {problem}", err=True)
        sys.exit(2)
    for line in unknown_variables():
        click.echo(f"session-sidecar: warning: {line}", err=True)
    sys.exit(app.run(settings))


main.add_command(backfill)
main.add_command(check)
main.add_command(outbox)
main.add_command(profiles)
main.add_command(up)

if __name__ == "__main__":
    main(prog_name="session-sidecar")
