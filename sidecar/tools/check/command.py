"""`session-sidecar check`: validates configuration and profile, and with `--connect` what they name."""

from __future__ import annotations

import asyncio
import sys
from typing import NoReturn

import click

from service_kit.settings import BadSettings
from sidecar.admin.effective_settings import effective, unknown_variables, unused_variables
from sidecar.profile.profile import Profile
from sidecar.settings import Settings, WrapSettings, load_settings
from sidecar.tools.check.connections import check_connections
from sidecar.tools.tool import counted, say


@click.command()
@click.option("--strict", is_flag=True, help="Make every warning an error.")
@click.option("--connect", is_flag=True, help="Try the upstream, the session service, Consul and the outbox's folder.")
@click.option("--wrap", metavar="MODULE:APP", help="The application that `wrap` will serve, instead of an upstream.")
@click.option("--verbose", is_flag=True, help="Print the effective settings, secrets masked.")
def check(*, strict: bool, connect: bool, wrap: str | None, verbose: bool) -> None:
    """Validate configuration and profile, and report every problem at once.

    Nothing is started and nothing is created; with --wrap the application is imported. The exit code is 0, or 2 where
    there is a problem.
    """
    warnings = unknown_variables()
    try:
        settings = load_settings(Settings if wrap is None else WrapSettings)
    except BadSettings as bad:
        _conclude(None, bad.problems, warnings, strict=strict)
    profile = settings.profile
    warnings += [f"profile {profile.name}: can never match: {rule}" for rule in profile.unreachable_rules()]
    if verbose:
        for name, value in effective(settings):
            click.echo(f"{name}={value}")
    warnings += unused_variables(settings)
    problems = [] if wrap is None else _problem_of(wrap)
    problems += _try_connections(settings) if connect else []
    _conclude(profile, problems, warnings, strict=strict)


def _problem_of(application: str) -> list[str]:
    """Import an application as `wrap` does; it is not started."""
    from sidecar.tools.load_application import NoApplication, load_application  # noqa: PLC0415 # brings uvicorn

    try:
        load_application(application)
    except NoApplication as error:
        return [str(error)]
    except Exception as error:  # noqa: BLE001 # an application may raise anything while it is imported
        return [f"{application}: {type(error).__name__} while it is imported: {error}"]
    return []


def _try_connections(settings: Settings) -> list[str]:
    problems = []
    for finding in asyncio.run(check_connections(settings)):
        if finding.is_problem:
            problems.append(finding.text)
        else:
            say(finding.text)
    return problems


def _conclude(profile: Profile | None, problems: list[str], warnings: list[str], *, strict: bool) -> NoReturn:
    """Print what was found, end in one line as `nginx -t` does, and exit."""
    if strict:
        problems, warnings = problems + warnings, []
    for line in warnings:
        say(f"session-sidecar: warning: {line}", err=True)
    for problem in problems:
        say(*f"session-sidecar: {problem}".split("\n"), err=True)
    verdict = counted(len(problems), "problem") if problems else "ok"
    click.echo(f"configuration: {verdict}" if profile is None else f"{_described(profile)}, {verdict}")
    sys.exit(2 if problems else 0)


def _described(profile: Profile) -> str:
    return f"profile {profile.name}: {counted(len(profile.rules), 'rule')}, session service {profile.service.style}"
