"""The one place where the parts are wired together from Settings."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvloop
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from service_kit.address import Address, Tcp, bound_address, listening
from service_kit.collector import leave_out_what_lives
from service_kit.logs import configure_logging
from sidecar.admin.access import HostNames
from sidecar.admin.app import Inspected, admin_app
from sidecar.admin.health import HealthProbe
from sidecar.admin.state import DashboardState
from sidecar.background import SideServer, started
from sidecar.doors.access_log import AccessLog
from sidecar.doors.authorizer import Authorizer
from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.fast_path.protocol import FastPathProtocol
from sidecar.doors.hosted import hosted_app
from sidecar.doors.middleware import refuse_unanswered
from sidecar.doors.proxy import bare_proxy
from sidecar.effective_settings import effective
from sidecar.guard.ports import DebtNotWritten
from sidecar.http.client.forwarder import Forwarder
from sidecar.http.client.upstream import Upstream
from sidecar.http.server.connection import Timeouts
from sidecar.http.server.protocol import HardenedProtocol
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
    from service_kit.registration import Registration
    from sidecar.http.server.hosting import Hosting


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


@dataclass(frozen=True, slots=True)
class _Front:
    """What the server serves: the application, and what reads its connections."""

    app: ASGIApp
    protocol: type[HardenedProtocol]
    fast_path: FastPath | None = None
    hosting: Hosting | None = None


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
        recent = RecentProblems(ids.hidden) if ids is not None else RecentProblems()
        self._tracing = open_tracing(log)
        self._telemetry = LoggedMetrics(
            self._metrics,
            log,
            upstream_url=settings.upstream,
            recent=recent,
            on_session_call=None if self._tracing is None else self._tracing.session_call,
        )
        build = build_info(settings.profile.name, settings.mode)
        upstream = (lambda: settings.upstream) if hosted is None else None
        self._state = DashboardState(self._metrics, recent, build, upstream=upstream)
        self._registry = registry_of(self._metrics, build)
        self._inspected = Inspected(self._registry, self._state, effective(settings), lambda: self._is_ready)
        self._stack = contextlib.AsyncExitStack()

    async def serve(
        self, listener: socket.socket, admin_listener: socket.socket, authz_listener: socket.socket | None
    ) -> int:
        """Run until a signal; gives the exit code."""
        async with self._stack:
            # What begins later ends earlier: the last figures are exported when all that is counted has ended.
            export = metrics_export(self._registry, self._log)
            if export is not None:
                await self._stack.enter_async_context(started(export))
            await self._stack.enter_async_context(started(self._admin(admin_listener)))
            guard = await self._stack.enter_async_context(SessionGuard(self._settings, telemetry=self._telemetry))
            self._inspect(guard)
            await self._register(bound_address(listener), bound_address(admin_listener))
            front = self._proxy(guard) if self._hosted is None else self._host(self._hosted, guard)
            if self._tracing is not None:
                self._stack.push_async_callback(self._tracing.close)
            leave_out_what_lives()
            bound = {"listen": listener, "admin": admin_listener, "authz": authz_listener}
            addresses = {name: str(bound_address(each)) for name, each in bound.items() if each is not None}
            server = Server(
                self._logged(front.app),
                listener,
                drain_timeout=self._settings.drain_timeout,
                patience=self._patience,
                protocol=front.protocol,
                fast_path=front.fast_path,
                on_ready=lambda: self._be_ready(addresses),
                on_drain=self._be_unready,
                hosting=front.hosting,
            )
            self._metrics.publish("sidecar_responses", lambda: self._responses(server))
            if authz_listener is not None:
                self._authorizer = self._authorizing(guard, authz_listener)
                await self._stack.enter_async_context(started(self._authorizer))
            return await server.run_until_stopped()

    def _proxy(self, guard: SessionGuard) -> _Front:
        """Forward what is admitted."""
        upstream = self._upstream()
        # The fast path leaves no moment to log or trace a request.
        fast = self._settings.fast_path and not self._settings.access_log and self._tracing is None
        return _Front(
            self._traced(bare_proxy(Forwarder(upstream), self._guarding(guard))),
            FastPathProtocol if fast else HardenedProtocol,
            FastPath(
                guard.extractor.classify,
                guard.guard,
                upstream,
                refuse_unanswered,
                guard.budget,
                guard.unguarded,
                guard.authorize,
            ),
        )

    def _host(self, app: ASGIApp, guard: SessionGuard) -> _Front:
        """Hand what is admitted to an application in this process."""
        from sidecar.http.server.hosting import Hosting, HostingProtocol  # noqa: PLC0415 # brings uvicorn

        names_decisions = self._settings.decision_header
        front = self._traced(hosted_app(app, self._guarding(guard), decision_header=names_decisions))
        return _Front(front, HostingProtocol, hosting=Hosting(front))

    def _guarding(self, guard: SessionGuard) -> Callable[[ASGIApp], ASGIApp]:
        """What wraps an application in the guard, with a span inside the guard if spans are wanted."""
        tracing = self._tracing
        return guard.guarding if tracing is None else lambda app: guard.guarding(tracing.forwarding(app))

    def _traced(self, app: ASGIApp) -> ASGIApp:
        return app if self._tracing is None else self._tracing.requests(app)

    def _logged(self, app: ASGIApp) -> ASGIApp:
        return AccessLog(app, self._log) if self._settings.access_log else app

    def _authorizing(self, guard: SessionGuard, listener: socket.socket) -> SideServer:
        """Answer other proxies."""
        settings = self._settings
        app = Authorizer(
            lambda admit: guard.guarding(admit, reads_answers=False),
            extractor=guard.extractor,
            enforces=settings.mode == "enforce",
            telemetry=self._telemetry,
            traced=self._traced,
        )
        return SideServer(self._logged(app), listener, drain_timeout=settings.drain_timeout, patience=self._patience)

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
        self._log.info("started", **build_info(settings.profile.name, settings.mode), **where)
        words = " ".join(f"{name}={address}" for name, address in addresses.items())
        print(f"ready role=sidecar {words}", flush=True)  # noqa: T201 # others wait for this line

    def _be_unready(self) -> None:
        """Begin to leave: no new client is to find this sidecar while it finishes what it has."""
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
        """Have the admin address show what the guard knows."""
        profile = self._settings.profile
        self._inspected.known, self._inspected.scope = guard.known, profile.scope
        self._inspected.canonical = profile.service.canonical
        if guard.discovery is not None:
            self._state.session_service = HealthProbe(guard.discovery.pick)
            self._state.follows_events = self._settings.profile.service.events is not None
            self._state.has_outbox = guard.has_outbox

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
        from service_kit.registration import Registration, health_url  # noqa: PLC0415 # brings Consul's client

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
