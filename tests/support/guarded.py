"""A guard over fakes as the application of a sidecar that really runs."""

from __future__ import annotations

from starlette.types import ASGIApp

from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.middleware import EnforceMiddleware, refuse_unanswered
from sidecar.doors.proxy import bare_proxy
from sidecar.extract.extractor import Extractor
from sidecar.http.client.forwarder import Forwarder
from sidecar.http.client.upstream import Upstream
from tests.support.guard import House
from tests.support.reading import ISA


class GuardedHouse(House):
    """A real guard over fakes, as the application of a sidecar."""

    def __init__(self, *, limit: int = 1 << 20, budget: int = 1 << 20) -> None:
        super().__init__()
        self.budget = BodyBudget(limit=limit, total=budget)

    def app(self, upstream: Upstream) -> ASGIApp:
        """What our own server calls of the proxy."""
        extractor = Extractor(ISA)

        def guarding(app: ASGIApp) -> ASGIApp:
            return EnforceMiddleware(
                app, extractor=extractor, guard=self.guard, budget=self.budget, telemetry=self.telemetry
            )

        return bare_proxy(Forwarder(upstream), guarding)

    def fast_path(self, upstream: Upstream) -> FastPath:
        """The fast path beside `app`."""
        return FastPath(
            Extractor(ISA).classify,
            self.guard,
            upstream,
            refuse_unanswered,
            self.budget,
            authorize=self.guard.authorize,
        )
