"""The one place where the parts are wired together from Settings."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import uvloop
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from service_kit.logs import configure_logging
from service_kit.process.address import Address, Tcp, bound_address, listening
from service_kit.process.collector import leave_out_what_lives
from sidecar.admin.access import HostNames
from sidecar.admin.app import Inspected, admin_app
from sidecar.admin.effective_settings import effective
from sidecar.admin.health import HealthProbe
from sidecar.admin.state import DashboardState
from sidecar.background import SideServer, started
from sidecar.fronts import Fronts
from sidecar.guard.ports import DebtNotWritten
from sidecar.http.client.upstream import Upstream
from sidecar.http.server.connection import Timeouts
from sidecar.http.server.server import Server, StartFailed
from sidecar.observability.log_ids import HashedIds
from sidecar.observability.metrics import Metrics, build_info, registry_of
from sidecar.observability.otel import metrics_export, open_tracing
from sidecar.observability.recent import RecentProblems
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.session_client.discovery import session_service_of
from sidecar.session_guard import SessionGuard
from sidecar.settings import Settings, text_of

if TYPE_CHECKING:
    from service_kit.consul.registration import Registration


_ADMIN_DRAIN: Final = 1.0
"""Seconds that a response of the admin address has to end when the sidecar stops."""


def run(settings: Settings, *, warnings: Sequence[str] = (), hosted: ASGIApp | None = None) -> int:
    """Serve until told to stop; gives the exit code. `warnings` about the settings are logged first.

    With `hosted` the guard stands in front of that application, in this process, and nothing is forwarded.
    """
    ids = HashedIds(settings.profile.literals) if settings.log_ids == "hashed" else None
    log = configure_logging(settings.log, "sidecar", level=settings.log_level, ids=ids)
    for line in warnings:
        log.warning(line)
    shared = functools.partial(listening, reuse_port=settings.reuse_port)
    try:
        with (
            shared(settings.listen) as listener,
            listening(settings.admin) as admin_listener,
            contextlib.nullcontext() if settings.authz is None else shared(settings.authz) as authz_listener,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            code = runner.run(_Sidecar(settings, log, ids, hosted).serve(listener, admin_listener, authz_listener))
    except (OSError, DebtNotWritten) as error:
        log.error(str(error))  # noqa: TRY400 # one line for a person, without a traceback
        return 1
    except StartFailed:
        log.error("the application failed to start")  # noqa: TRY400 # its traceback is logged already
        return 1
    log.info("stopped", code=code)
    return code


class _Sidecar:
    """One running sidecar: its parts, in the order in which they need each other."""

    def __init__(
        self, settings: Settings, log: FilteringBoundLogger, ids: HashedIds | None, hosted: ASGIApp | None
    ) -> None:
        self._settings = settings
        self._hosted = hosted
        self._log = log
        self._is_ready = False
        self._registration: Registration | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._authorizer: SideServer | None = None
        self._patience = Timeouts(body=settings.body_timeout)
        self._metrics = Metrics()
        recent = RecentProblems(dict if ids is None else ids.hidden)
        self._tracing = open_tracing(log)
        self._telemetry = LoggedMetrics(
            self._metrics,
            log,
            upstream_url=settings.upstream,
            recent=recent,
            on_session_call=None if self._tracing is None else self._tracing.session_call,
        )
        self._build = build_info(settings.profile.name, settings.mode)
        upstream = (lambda: settings.upstream) if hosted is None else None
        self._inspected = Inspected(
            registry_of(self._metrics, self._build),
            DashboardState(self._metrics, recent, self._build, upstream=upstream),
            effective(settings),
            lambda: self._is_ready,
            scope=settings.profile.scope,
            canonical=settings.profile.service.canonical,
        )
        self._stack = contextlib.AsyncExitStack()

    async def serve(
        self, listener: socket.socket, admin_listener: socket.socket, authz_listener: socket.socket | None
    ) -> int:
        """Run until a signal; gives the exit code."""
        async with self._stack:
            # What begins later ends earlier: the last figures are exported when all that is counted has ended.
            export = metrics_export(self._inspected.registry, self._log)
            if export is not None:
                await self._stack.enter_async_context(started(export))
            await self._stack.enter_async_context(started(self._admin(admin_listener)))
            guard = await self._stack.enter_async_context(SessionGuard(self._settings, telemetry=self._telemetry))
            self._inspect(guard)
            await self._register(bound_address(listener), bound_address(admin_listener))
            fronts = Fronts(guard, self._tracing, self._log)
            front = fronts.proxy(self._upstream()) if self._hosted is None else fronts.host(self._hosted)
            if self._tracing is not None:
                self._stack.push_async_callback(self._tracing.close)
            leave_out_what_lives()
            bound = {"listen": listener, "admin": admin_listener, "authz": authz_listener}
            addresses = {name: str(bound_address(each)) for name, each in bound.items() if each is not None}
            server = Server(
                front.app,
                listener,
                drain_timeout=self._settings.drain_timeout,
                patience=self._patience,
                connect=front.connect,
                on_ready=lambda: self._be_ready(addresses),
                on_drain=self._be_unready,
                hosting=front.hosting,
            )
            self._metrics.publish("sidecar_responses", lambda: self._responses(server))
            if authz_listener is not None:
                self._authorizer = SideServer(
                    fronts.authorizer(),
                    authz_listener,
                    drain_timeout=self._settings.drain_timeout,
                    patience=self._patience,
                )
                await self._stack.enter_async_context(started(self._authorizer))
            return await server.run_until_stopped()

    def _responses(self, server: Server) -> Mapping[str, float]:
        """How many responses both servers gave, by the class of their status code."""
        counts = Counter(server.responses())
        if self._authorizer is not None:
            counts.update(self._authorizer.server.responses())
        return counts

    def _be_ready(self, addresses: Mapping[str, str]) -> None:
        self._is_ready = True
        settings = self._settings
        where = {**addresses, "session_service": str(session_service_of(settings))}
        if self._hosted is None:
            where["upstream"] = settings.upstream
        self._log.info("started", **self._build, **where)
        words = " ".join(f"{name}={address}" for name, address in addresses.items())
        print(f"ready role=sidecar {words}", flush=True)  # noqa: T201 # others wait for this line

    def _be_unready(self) -> None:
        """Become unready and deregister, so that no new client is sent here while open requests are finished."""
        self._is_ready = False
        self._log.info("stopping", drain_timeout=self._settings.drain_timeout)
        if self._authorizer is not None:
            self._authorizer.begin_to_stop()
        if self._registration is not None:
            self._leaving = asyncio.create_task(self._registration.stop())

    def _admin(self, listener: socket.socket) -> SideServer:
        hosts = HostNames(bound_address(listener), self._settings.admin, self._settings.advertise)
        app = admin_app(self._inspected, token=text_of(self._settings.admin_token), hosts=hosts)
        return SideServer(app, listener, drain_timeout=_ADMIN_DRAIN)

    def _inspect(self, guard: SessionGuard) -> None:
        """Show the guard's cache on the admin address."""
        self._inspected.known, state = guard.known, self._inspected.state
        if guard.discovery is not None:
            state.session_service = HealthProbe(guard.discovery.pick)
            state.follows_events = self._settings.profile.service.events is not None
            state.has_outbox = guard.has_outbox

    def _upstream(self) -> Upstream:
        settings = self._settings
        upstream = Upstream(
            settings.upstream,
            connections=settings.upstream_connections,
            idle=settings.upstream_idle,
            connect_timeout=settings.connect_timeout,
            response_timeout=settings.upstream_timeout,
            trusted_proxies=settings.trusted_proxies,
            user_header=settings.user_header,
            decision_header=settings.decision_header,
            telemetry=self._telemetry,
        )
        self._stack.push_async_callback(upstream.close)
        self._metrics.publish("sidecar_upstream_connections", upstream.connections)
        return upstream

    async def _register(self, listen: Address, admin: Address) -> None:
        settings = self._settings
        advertise = settings.advertise or listen
        if settings.register_as is None or settings.consul is None or not isinstance(advertise, Tcp):
            return
        from service_kit.consul.registration import Registration, health_url  # noqa: PLC0415 # brings Consul's client

        health = health_url(admin, "/readyz", advertise=advertise, agent=settings.consul)
        self._registration = Registration(
            settings.consul,
            name=settings.register_as,
            advertise=advertise,
            health=health,
            tags=["sidecar"],
            # Sidecars that share an address differ in these two.
            process=f"{socket.gethostname()}-{admin}",
        )
        await self._stack.enter_async_context(started(self._registration))
