"""`session-sidecar backfill`: makes the sessions that writes from before the sidecar refer to."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import click
import httpx
import structlog

from service_kit.settings import BadSettings
from sidecar.observability.logs import configure_logging
from sidecar.observability.metrics import Metrics
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.session_client.client import HttpSessionService
from sidecar.session_client.consul_discovery import ConsulDiscovery
from sidecar.session_client.discovery import FixedAddress
from sidecar.session_client.transport import PooledTransport
from sidecar.settings import Settings, load_settings
from sidecar.tools.backfill.ensuring import CALL_TIMEOUT, DryRun, Ensure, InBulk, OneByOne, ServiceFailed
from sidecar.tools.backfill.job import Job, Request, open_job
from sidecar.tools.backfill.pairs import SourceFailed, UnreadableSource
from sidecar.tools.backfill.report import Reporter
from sidecar.tools.backfill.run import backfill_all


@click.command()
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
    try:
        settings = load_settings()
        _check(request, settings)
        sys.exit(asyncio.run(_run(settings, request)))
    except BadSettings as bad:
        _fail(2, *bad.problems)
    except UnreadableSource as error:
        _fail(2, str(error))
    except (ServiceFailed, SourceFailed, OSError) as error:
        _fail(1, str(error), *_advice(request))
    except KeyboardInterrupt:
        _fail(1, "interrupted", *_advice(request))


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
    async with contextlib.AsyncExitStack() as stack:
        job = await open_job(stack, request, service=_name(settings))
        ensure = await _ensure(stack, settings, dry_run=request.dry_run)
        return await _work(job, ensure, dry_run=request.dry_run)


async def _work(job: Job, ensure: Ensure, *, dry_run: bool) -> int:
    with contextlib.closing(job.failures), Reporter(job, dry_run=dry_run) as reporter:
        await backfill_all(job.source, ensure, job.done, job.failures, reporter.take_in)
    if job.progress is not None:
        job.progress.remove()
    return reporter.conclude()


async def _ensure(stack: contextlib.AsyncExitStack, settings: Settings, *, dry_run: bool) -> Ensure:
    """The way to ask: look only, one call for many, or one for each where the service has no other."""
    discovery: FixedAddress | ConsulDiscovery = FixedAddress(settings.session_service)
    if settings.consul is not None:
        fallback = settings.session_service if settings.session_service_is_explicit else None
        discovery = ConsulDiscovery(settings.consul, settings.session_service_name, fallback)
    await discovery.start()
    stack.push_async_callback(discovery.stop)
    transport = await stack.enter_async_context(PooledTransport())
    api, secret = settings.profile.service, settings.session_service_token
    token = secret.get_secret_value() if secret else None
    if api.bulk is not None and not dry_run:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = httpx.AsyncClient(transport=transport, headers=headers, timeout=CALL_TIMEOUT, trust_env=False)
        return InBulk(await stack.enter_async_context(client), discovery, api.bulk)
    telemetry = LoggedMetrics(Metrics(), structlog.get_logger())
    service = HttpSessionService(transport, discovery, telemetry, api, token=token, timeout=settings.session_timeout)
    if not dry_run:
        return OneByOne(service.ensure)
    trial = DryRun(OneByOne(service.look))
    stack.callback(trial.close)
    return trial


def _name(settings: Settings) -> str:
    """What a saved position belongs to: another session service starts from the beginning."""
    return settings.session_service if settings.consul is None else f"{settings.consul} {settings.session_service_name}"


def _advice(request: Request) -> list[str]:
    if request.dry_run:
        return []
    return [
        "the same command goes on where this one stopped" if request.resumes else "the same command can be repeated"
    ]


def _fail(code: int, *lines: str) -> None:
    for line in lines:
        click.echo(f"session-sidecar: {line}", err=True)
    sys.exit(code)
