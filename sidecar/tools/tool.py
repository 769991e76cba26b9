"""What all tools have in common: how they print lines, and how they fail: a line for each problem, and an exit code."""

from __future__ import annotations

from typing import Any

import click

from service_kit.printable import printable
from service_kit.settings import BadSettings


def say(*lines: str, err: bool = False) -> None:
    """Print lines in which services, clients or files chose some of the words: what is not printable is escaped."""
    click.echo("\n".join(map(printable, lines)), err=err)


def counted(number: int, word: str) -> str:
    """A number of things, in words: `1 rule`, `2 rules`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


class Failed(Exception):
    """A tool cannot do its work: 2 is for bad usage or configuration, 1 for all else."""

    def __init__(self, *problems: str, code: int = 2) -> None:
        super().__init__(*problems)
        self.problems = problems
        self.code = code


class Tool(click.Command):
    """A command that says in readable lines why it failed."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BadSettings as bad:
            failed = Failed(*bad.problems)
        except Failed as error:
            failed = error
        for problem in failed.problems:
            # The problems of a profile are one problem of the settings, a line for each.
            say(*f"session-sidecar: {problem}".split("\n"), err=True)
        return ctx.exit(failed.code)
