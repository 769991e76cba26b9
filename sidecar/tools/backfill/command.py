"""`session-sidecar backfill`: makes the sessions that writes from before the sidecar refer to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import click
import stamina
from rich.console import Console

from service_kit.logs import configure_logging
from sidecar.background import started
from sidecar.guard.ports import Telemetry
from sidecar.session_client.client import HttpSessionService
from sidecar.session_client.discovery import discovery_of, session_service_of
from sidecar.session_client.transport import Transport
from sidecar.settings import Settings, load_settings, text_of
from sidecar.tools.backfill.ensuring import DryRun, Ensure, InBulk, OneCallEach, ServiceFailed
from sidecar.tools.backfill.job import Request, open_job
from sidecar.tools.backfill.pairs import SourceFailed
from sidecar.tools.backfill.report import Reporter
from sidecar.tools.backfill.run import backfill_all
from sidecar.tools.tool import Failed, Tool


@click.command(cls=Tool)
@click.argument("file", metavar="[FILE|-]", required=False)
@click.option("--from-sql", "url", metavar="URL", help="Read from a database: sqlite:///PATH or postgresql://…")
@click.option("--query", metavar="Q", help="What to read there: rows with the columns user_id and session_id.")
@click.option("--dry-run", is_flag=True, help="Create nothing; say what would come of it.")
def backfill(file: str | None, url: str | None, query: str | None, *, dry_run: bool) -> None:
    """Make sure that every (user_id, session_id) pair has its session.

    FILE (or - for standard input) holds JSON lines, {"user_id": "…", "session_id": "…"}, or CSV with a line of
    column names. A run over a FILE that was broken off goes on where it was when it is started again. Pairs whose
    session is another user's or was deleted, or whose ids are invalid, are written to a file, and make the exit
    code 1.
    """
    request = Request(file, url, query, dry_run)
    settings = load_settings()
    _check(request, settings)
    try:
        code = asyncio.run(_run(settings, request))
    except (ServiceFailed, SourceFailed, OSError) as error:
        raise Failed(str(error), *_advice(request), code=1) from error
    except KeyboardInterrupt:
        raise Failed("interrupted", *_advice(request), code=1) from None
    sys.exit(code)


def _check(request: Request, settings: Settings) -> None:
    profile = settings.profile
    if (request.file is None) == (request.url is None):
        raise click.UsageError("one of FILE, - and --from-sql URL is needed, and only one is allowed")
    if (request.url is None) != (request.query is None):
        raise click.UsageError("--from-sql and --query go together")
    if profile.scope:
        names = ", ".join(profile.scope)
        raise click.UsageError(f"profile {profile.name}: its sessions are scoped by {names}, which no pair carries")
    if not profile.service.creates_by_id:
        raise click.UsageError(f"profile {profile.name}: its session service cannot create a session by its id")


async def _run(settings: Settings, request: Request) -> int:
    configure_logging(settings.log or "console", "backfill")
    # By default stamina writes a line of its own for each repeated call.
    stamina.instrumentation.set_on_retry_hooks(())
    if request.file == "-":
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _end_at_once, request)
    async with contextlib.AsyncExitStack() as stack:
        job = await open_job(stack, request, service=str(session_service_of(settings)))
        ensure = await _ensure(stack, settings, dry_run=request.dry_run)
        reporter = Reporter(job, dry_run=request.dry_run)
        with contextlib.closing(job.failures), reporter.shown():
            await backfill_all(job, ensure, reporter.take_in)
        if job.progress is not None:
            job.progress.remove()
        return reporter.conclude()


async def _ensure(stack: contextlib.AsyncExitStack, settings: Settings, *, dry_run: bool) -> Ensure:
    """The way to ask: look only, one call for many, or one for each where the service has no other."""
    discovery = await stack.enter_async_context(started(discovery_of(settings)))
    transport = await stack.enter_async_context(Transport())
    bulk = settings.profile.service.bulk
    if bulk is not None and not dry_run:
        return InBulk(transport, discovery, bulk, text_of(settings.session_service_token))
    service = HttpSessionService.from_settings(settings, transport, discovery, Telemetry())
    if not dry_run:
        return OneCallEach(service.ensure)
    return stack.enter_context(contextlib.closing(DryRun(OneCallEach(service.look))))


def _end_at_once(request: Request) -> None:
    """End on Ctrl-C: a thread that waits for standard input cannot be broken off, and an orderly end waits for it."""
    Console(stderr=True).show_cursor()
    for line in ("interrupted", *_advice(request)):
        click.echo(f"session-sidecar: {line}", err=True)
    os._exit(1)


def _advice(request: Request) -> list[str]:
    if request.dry_run:
        return []
    again = "goes on where this one stopped" if request.resumes else "can be repeated"
    return [f"the same command {again}"]
