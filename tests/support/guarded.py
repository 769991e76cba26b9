"""A guard over fakes as the application of a sidecar that really runs."""

from __future__ import annotations

from sidecar.doors.bounded_body import BodyBudget, BodyReader
from sidecar.doors.proxy import EnforceHandler, ProxyApp
from sidecar.extract.extractor import Extractor
from sidecar.http.client.forwarder import Upstream
from tests.support.guard import House
from tests.support.reading import ISA


class GuardedHouse(House):
    """A real guard over fakes, as the application of a sidecar."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = BodyBudget(1 << 20)

    def app(self, upstream: Upstream) -> GuardedApp:
        bodies = BodyReader(limit=1 << 20, budget=self.budget)
        return GuardedApp(EnforceHandler(Extractor(ISA), self.guard, upstream, self.telemetry, bodies))


class GuardedApp(ProxyApp):
    """The application and the door of its lane in one."""

    def __init__(self, enforcing: EnforceHandler) -> None:
        super().__init__(enforcing)
        self.prepare = enforcing.prepare
        self.passing = enforcing.passing
        self.unanswered = enforcing.unanswered
