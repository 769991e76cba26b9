"""Counts what was decided, one count for each call; what a refused batch takes with it is counted as refused too."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.model import Admit, Call, Create, How, Reason, Refuse
from sidecar.ports import Telemetry


def tally(
    telemetry: Telemetry, calls: Sequence[Call], decisions: Sequence[Admit | Create | Refuse | None], prefix: str = ""
) -> None:
    """Count the decision of every call, in order. None is a call that was not decided, because another was refused."""
    refused = any(isinstance(decision, Refuse) for decision in decisions)
    for call, decision in zip(calls, decisions, strict=True):
        if isinstance(decision, Refuse):
            telemetry.decided(f"{prefix}refused", decision.reason, call.reference)
        elif refused or decision is None:
            telemetry.decided(f"{prefix}refused", Reason.BATCH_REFUSED, call.reference)
        else:
            how = decision.how if isinstance(decision, Admit) else How.CREATED
            telemetry.decided(f"{prefix}{how.value}", None, call.reference)
