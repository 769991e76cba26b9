"""The guard of mode `off`: it permits every request, and counts it."""

from __future__ import annotations

from sidecar.guard.permit import SEAL, ImmediateGuard, Permit
from sidecar.guard.ports import Telemetry
from sidecar.model import Extraction, Grounds


class OpenGuard(ImmediateGuard):
    """Permits what it is asked for."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._permit = Permit(SEAL, Grounds.PASSED)

    def pass_through(self) -> Permit:
        """Permit a request that nothing looks at."""
        self._telemetry.decided("passed")
        return self._permit

    def permit_known(self, extraction: Extraction) -> Permit:  # noqa: ARG002 # it looks at none
        """Permit every request."""
        return self.pass_through()
