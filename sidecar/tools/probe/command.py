"""`session-sidecar probe` tells whether a session service is safe to create sessions at."""

from __future__ import annotations

import asyncio
import sys

import click

from sidecar.background import started
from sidecar.session_client.calls import UnwritableCall
from sidecar.session_client.discovery import discovery_of, session_service_of
from sidecar.session_client.transport import Transport
from sidecar.settings import Settings, load_settings, text_of
from sidecar.tools.probe.findings import ProbeFinding
from sidecar.tools.probe.probed_service import ProbedService
from sidecar.tools.probe.record import record
from sidecar.tools.probe.run import Probe
from sidecar.tools.tool import Failed, Tool, counted, say


@click.command(cls=Tool)
@click.option("--yes-create", is_flag=True, help="Yes, create sessions there, and delete them.")
@click.option("--user", "users", multiple=True, metavar="ID", help="Two users to try with (default probe-a, probe-b).")
@click.option("--token", "tokens", multiple=True, help="Bearer token of the users, or one for each.")
@click.option("--with", "values", multiple=True, metavar="NAME=VALUE", help="A part of the scope, or a variable.")
def probe(*, yes_create: bool, users: tuple[str, ...], tokens: tuple[str, ...], values: tuple[str, ...]) -> None:
    """Try what the profile says of its session service, with sessions of the probe's own.

    It writes only ids that begin with probe- (fresh UUIDs where the service wants those), and deletes them. The exit
    code is 0, or 1 where an error was found: serve then refuses to start with this profile at this address.
    """
    settings = load_settings()
    where = session_service_of(settings)
    given = _values(values, settings)
    names = _users(users)
    if not yes_create:
        raise Failed(f"probe creates sessions at {where} and deletes them: say --yes-create if it may")
    if not tokens and (token := text_of(settings.session_service_token)) is not None:
        tokens = (token,)
    findings = asyncio.run(_probe(settings, names, tokens, given))
    for finding in findings:
        say(f"{finding.code} {finding.level}: {finding.seen}", f"     {finding.remedy}")
    errors = list(dict.fromkeys(finding.code for finding in findings if finding.level == "error"))
    warnings = sum(finding.level == "warning" for finding in findings)
    if errors != ["P100"]:
        try:
            record(settings, errors)
        except OSError as error:
            say(f"session-sidecar: warning: the result could not be written down for serve: {error}", err=True)
    found = f"{counted(len(errors), 'error')}, {counted(warnings, 'warning')}"
    verdict = "unsafe" if errors else "safe to create at"
    say(f"profile {settings.profile.name} at {where}: {found}, {verdict}")
    sys.exit(1 if errors else 0)


async def _probe(
    settings: Settings, users: tuple[str, str], tokens: tuple[str, ...], values: dict[str, str]
) -> list[ProbeFinding]:
    async with Transport() as transport, started(discovery_of(settings)) as discovery:
        url = discovery.pick()
        if url is None:
            raise Failed(f"no passing instance of {session_service_of(settings)}", code=1)
        trying = Probe(ProbedService(settings, url, transport, users=users, tokens=tokens, values=values))
        try:
            await trying.run()
        except UnwritableCall as error:
            raise Failed(f"{error}; --with NAME=VALUE names a value") from error
    return trying.findings


def _users(users: tuple[str, ...]) -> tuple[str, str]:
    if len(users) not in (0, 2) or len(set(users)) != len(users):
        raise Failed("--user is given twice, with two different ids, or not at all")
    return (users[0], users[1]) if users else ("probe-a", "probe-b")


def _values(pairs: tuple[str, ...], settings: Settings) -> dict[str, str]:
    allowed = [*(name for name in settings.profile.scope if name != "user_id"), *settings.profile.variables]
    values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    unknown = [pair for pair in pairs if pair.partition("=")[0] not in allowed or "=" not in pair]
    if unknown:
        names = f"NAME=VALUE with NAME of {', '.join(allowed)} is" if allowed else "this profile has no names: none is"
        raise Failed(f"--with {unknown[0]}: {names} allowed")
    return values
