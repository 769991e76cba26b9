"""`session-sidecar profiles`: the shipped profiles, one line each, or one of them as TOML to start from."""

from __future__ import annotations

import click

from sidecar.profile.loading import NOT_TO_RUN, load_profile, shipped_profiles, shipped_text
from sidecar.profile.problems import ProfileError
from sidecar.tools.tool import Failed, Tool


@click.command(cls=Tool)
@click.option("--show", metavar="NAME", help="Print this profile as TOML.")
def profiles(*, show: str | None) -> None:
    """List the shipped profiles, or print one of them to start from."""
    if show is None:
        names = [*shipped_profiles(), *sorted(NOT_TO_RUN)]
        width = max(map(len, names))
        for name in names:
            click.echo(f"{name:{width}}  {load_profile(shipped_text(name), name).summary}")
        return
    try:
        click.echo(shipped_text(show), nl=False)
    except ProfileError as error:
        raise Failed(str(error)) from None
