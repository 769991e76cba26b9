"""How every tool fails: each problem in a line of its own on standard error, and an exit code."""

from __future__ import annotations

from typing import Any

import click

from service_kit.settings import BadSettings


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
            click.echo(f"session-sidecar: {problem}", err=True)
        return ctx.exit(failed.code)
