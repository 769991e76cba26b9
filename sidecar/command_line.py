"""The command line: parses the arguments and calls the command."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from service_kit.process.extras import DISTRIBUTION
from sidecar.observability.metrics import is_compiled

_TOOLS: Final = {
    "backfill": "backfill.command",
    "check": "check.command",
    "explain": "explain.command",
    "outbox": "outbox",
    "probe": "probe.command",
    "profiles": "profiles",
    "up": "up.command",
}
"""Commands and their modules in `sidecar.tools`; each is a function of its name."""


class _Commands(click.Group):
    """The commands; the module of a tool is imported when it is asked for, so that the others do not pay for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_TOOLS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _TOOLS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(f"sidecar.tools.{_TOOLS[cmd_name]}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    package_name=DISTRIBUTION, message="%(prog)s, version %(version)s" + (" (compiled)" if is_compiled() else "")
)
def commands() -> None:
    """Make sure that a session exists before a write reaches the memory service."""


@commands.command()
def serve() -> None:
    """Run the sidecar alone."""
    from sidecar import serve  # noqa: PLC0415 # no tool needs it

    sys.exit(serve.serve())


@commands.command()
@click.argument("application", metavar="MODULE:APP")
def wrap(application: str) -> None:
    """Serve an ASGI application under the guard, in one process.

    MODULE is imported from the working directory or the Python path; APP is the application in it.
    """
    from sidecar import serve  # noqa: PLC0415 # no tool needs it

    sys.exit(serve.wrap(application))
