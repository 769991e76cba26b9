"""`session-sidecar explain` tells what would happen to a request and why."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote, urlsplit

import click
import httpx
import orjson

from service_kit.printable import printable_json
from sidecar.background import started
from sidecar.guard.decisions import Create, OnEnded, OnOutage, becomes_debt, cannot_create, decide
from sidecar.guard.ports import Telemetry
from sidecar.guard.verdicts import Verdict
from sidecar.model import Head, Reference, Refusal, RuleKind
from sidecar.session_client.client import HttpSessionService
from sidecar.session_client.discovery import discovery_of
from sidecar.session_client.transport import Transport
from sidecar.settings import Settings, load_settings
from sidecar.tools.explain.run import Explanation, Outcome, explain_request, refused
from sidecar.tools.tool import Failed, Tool, say

_PATH_SAFE = "/:@!$&'()*+,;=~-._%?"


@click.command(cls=Tool)
@click.option("-X", "method", metavar="METHOD", help="GET, or POST where there is a body, if it is left out.")
@click.option("-H", "headers", multiple=True, metavar="'K: V'", help="A header field.")
@click.option("-d", "data", metavar="BODY|@FILE|-", help="The body, from a file or from standard input.")
@click.option("-F", "form", multiple=True, metavar="K=V", help="A field of a multipart form.")
@click.option("--ask", is_flag=True, help="Look the sessions up, too; nothing is created.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("url")
def explain(
    *,
    url: str,
    method: str | None,
    headers: tuple[str, ...],
    data: str | None,
    form: tuple[str, ...],
    ask: bool,
    as_json: bool,
) -> None:
    """Tell what would happen to a request and why.

    The options are curl's. Nothing is sent, unless --ask lets the session service be asked. The exit code is 0 where
    the request is admitted or passes, 1 where it is refused.
    """
    settings = load_settings()
    if data is not None and form:
        raise Failed("-d and -F cannot stand together: a request has one body")
    lines = [_header(line) for line in headers]
    body, content_type = _form(form) if form else (_body(data), b"application/x-www-form-urlencoded")
    has_body = bool(form) or data is not None
    if has_body and not any(name == b"content-type" for name, _ in lines):
        lines.append((b"content-type", content_type))
    head = Head((method or ("POST" if has_body else "GET")).upper(), _target(url), lines)
    explanation = explain_request(settings, head, body)
    if ask:
        asyncio.run(_ask(settings, explanation))
    if as_json:
        click.echo(_json(explanation))
    else:
        say(*_lines(explanation))
    if settings.mode != "enforce":
        click.echo(f"session-sidecar: SIDECAR_MODE={settings.mode} forwards the request, admitted or refused", err=True)
    sys.exit(1 if explanation.is_refused else 0)


async def _ask(settings: Settings, explanation: Explanation) -> None:
    """Put what the session service says now in the place of each condition."""
    async with Transport() as transport, started(discovery_of(settings)) as discovery:
        service = HttpSessionService.from_settings(settings, transport, discovery, Telemetry())
        for place, call in enumerate(explanation.calls):
            if call.reference is not None and call.refusal is None:
                verdict = await service.look(call.reference)
                explanation.outcomes[place] = _asked(settings, call.reference, verdict)


def _asked(settings: Settings, reference: Reference, verdict: Verdict) -> Outcome:
    """What becomes of a write, now that the session service has said what it knows of the session."""
    seen = type(verdict).__name__.lower()
    if reference.kind in (RuleKind.RECOVER, RuleKind.FORGET):
        return Outcome("passed", f"forwarded at once; the session is {seen} now")
    decision = decide(reference, verdict, OnEnded(settings.on_ended))
    if becomes_debt(reference, decision, OnOutage(settings.on_outage)):
        return Outcome("admitted", "the session service gives no answer; the session would be owed")
    if isinstance(decision, Refusal):
        return refused(decision)
    if isinstance(decision, Create) and not settings.profile.service.creates_by_id:
        return refused(cannot_create(reference))
    if isinstance(decision, Create):
        return Outcome("admitted", "the session is absent; it would be created first")
    return Outcome("admitted", f"the session is {seen}")


def _lines(explanation: Explanation) -> list[str]:
    lines = [explanation.request]
    lines += [f"  {'*' if rule.matched else ' '} {rule.where} {rule.rule}: {rule.why}" for rule in explanation.rules]
    if explanation.places:
        lines.append("looked at")
        for place in explanation.places:
            found = "nothing" if place.found is None else orjson.dumps(place.found, default=str).decode()
            lines.append(f"    {place.name} in {place.where}: {found}")
    for session in explanation.sessions:
        said = ", ".join(f"{name}={value}" for name, value in session.items() if value is not None)
        lines.append(f"names {said}")
    for outcome in explanation.outcomes:
        code = f" {outcome.status} {outcome.reason}" if outcome.reason else ""
        verb = "passes" if outcome.outcome == "passed" else outcome.outcome
        lines.append(f"{verb}{code}: {outcome.why}")
    return lines


def _json(explanation: Explanation) -> str:
    shown = {field.name: getattr(explanation, field.name) for field in fields(explanation) if field.name != "calls"}
    return printable_json(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())


def _target(url: str) -> bytes:
    """The request target that curl would send for a URL; a path alone will do."""
    parts = urlsplit(url, allow_fragments=True)
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    if not path.startswith("/"):
        raise Failed(f"{url!r} is no URL: http://HOST/PATH or /PATH is allowed")
    return f"{path}?{quote(parts.query, safe=_PATH_SAFE)}".encode() if parts.query else path.encode()


def _header(line: str) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise Failed(f"-H {line!r} is no header field: 'NAME: VALUE' is allowed")
    return name.strip().lower().encode("latin-1", "replace"), value.strip().encode("utf-8")


def _body(data: str | None) -> bytes:
    if data in ("-", "@-"):
        return sys.stdin.buffer.read()
    if data is not None and data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise Failed(f"-d {data}: {error.strerror or error}") from None
    return (data or "").encode()


def _form(fields: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Give a multipart form and its content type."""
    parts = []
    for one in fields:
        name, equals, value = one.partition("=")
        if not equals:
            raise Failed(f"-F {one!r} is no field: NAME=VALUE is allowed")
        parts.append((name, (None, value)))
    request = httpx.Request("POST", "http://localhost", files=parts)
    return request.read(), request.headers["content-type"].encode()
