"""The applications behind the sidecar's addresses: the guard around the forwarder, or around a hosted application."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from sidecar.doors.access_log import AccessLog
from sidecar.doors.authorizer import Authorizer
from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.fast_path.protocol import FastPathProtocol
from sidecar.doors.hosted import hosted_app
from sidecar.doors.middleware import refuse_unanswered
from sidecar.doors.proxy import bare_proxy
from sidecar.http.client.forwarder import Forwarder
from sidecar.http.client.upstream import Upstream
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.serving import Shared
from sidecar.session_guard import SessionGuard

if TYPE_CHECKING:
    from sidecar.http.server.hosting import Hosting
    from sidecar.observability.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Front:
    """What a server serves: the application, and the protocol class of its connections."""

    app: ASGIApp
    connect: Callable[[Shared], HardenedProtocol]
    hosting: Hosting | None = None


class Fronts:
    """Puts applications behind one guard. `tracing` makes spans, where there is one, and `log` takes access lines."""

    def __init__(self, guard: SessionGuard, tracing: Tracing | None, log: FilteringBoundLogger) -> None:
        self._guard = guard
        self._settings = guard.settings
        self._tracing = tracing
        self._log = log

    def proxy(self, upstream: Upstream) -> Front:
        """The proxy: admitted requests are forwarded."""
        guard = self._guard
        # The fast path leaves no moment to log or trace a request.
        fast = self._settings.fast_path and not self._settings.access_log and self._tracing is None
        path = FastPath(
            guard.extractor.classify,
            guard.guard,
            upstream,
            refuse_unanswered,
            guard.budget,
            guard.unguarded,
            guard.authorize,
        )
        return Front(
            self._logged(self._traced(bare_proxy(Forwarder(upstream), self._guarding))),
            functools.partial(FastPathProtocol, path=path) if fast else HardenedProtocol,
        )

    def host(self, app: ASGIApp) -> Front:
        """The host: admitted requests go to an application in this process."""
        from sidecar.http.server.hosting import Hosting, HostingProtocol  # noqa: PLC0415 # brings uvicorn

        hosted = self._traced(hosted_app(app, self._guarding, decision_header=self._settings.decision_header))
        hosting = Hosting(hosted)
        return Front(self._logged(hosted), functools.partial(HostingProtocol, hosting=hosting), hosting)

    def authorizer(self) -> ASGIApp:
        """The authoriser: answers other proxies."""
        return self._logged(
            Authorizer(
                lambda admit: self._guard.guarding(admit, reads_answers=False),
                extractor=self._guard.extractor,
                enforces=self._settings.mode == "enforce",
                telemetry=self._guard.telemetry,
                traced=self._traced,
            )
        )

    def _guarding(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application in the guard, with a span inside the guard if spans are wanted."""
        return self._guard.guarding(app if self._tracing is None else self._tracing.forwarding(app))

    def _traced(self, app: ASGIApp) -> ASGIApp:
        return app if self._tracing is None else self._tracing.requests(app)

    def _logged(self, app: ASGIApp) -> ASGIApp:
        return AccessLog(app, self._log) if self._settings.access_log else app
