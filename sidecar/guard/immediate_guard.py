"""What guards of every mode share: the part that answers at once, and how decisions are counted.

The guard of mode `off` is no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence

from mypy_extensions import mypyc_attr

from sidecar.guard.permit import SEAL, Permit
from sidecar.guard.ports import Telemetry
from sidecar.model import Allow, Call, Create, Extraction, Grounds, Reason, Refusal


@mypyc_attr(allow_interpreted_subclasses=True)
class ImmediateGuard:
    """The part of a guard of any mode that answers at once."""

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        raise NotImplementedError

    def permit_known(self, extraction: Extraction) -> Permit | None:
        """Permit what needs no question; None leaves the request to the application."""
        raise NotImplementedError


class OpenGuard(ImmediateGuard):
    """The guard of mode `off`: it permits every request, and counts it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._permit = Permit(SEAL, Grounds.PASSED)

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        self._telemetry.decided("passed")
        return self._permit

    def permit_known(self, extraction: Extraction) -> Permit:  # noqa: ARG002 # mode `off` decides nothing
        """Permit every request."""
        return self.pass_through()


def record_decisions(
    telemetry: Telemetry, calls: Sequence[Call], decisions: Sequence[Allow | Create | Refusal | None], prefix: str = ""
) -> None:
    """Count the decision of every call, in order.

    None is a call that was not decided, because another was refused: it counts as refused too.
    """
    refused = any(isinstance(decision, Refusal) for decision in decisions)
    for call, decision in zip(calls, decisions, strict=True):
        if isinstance(decision, Refusal):
            telemetry.decided(f"{prefix}refused", decision.reason, call.reference, decision.detail)
        elif refused or decision is None:
            telemetry.decided(f"{prefix}refused", Reason.BATCH_REFUSED, call.reference)
        else:
            how = decision.grounds if isinstance(decision, Allow) else Grounds.CREATED
            telemetry.decided(f"{prefix}{how.value}", None, call.reference)
