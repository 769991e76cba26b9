"""Counts what was decided, one count for each call; what a refused batch takes with it is counted as refused too."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.guard.ports import Telemetry
from sidecar.model import Allow, Call, Create, Grounds, Reason, Refusal


def record_decisions(
    telemetry: Telemetry, calls: Sequence[Call], decisions: Sequence[Allow | Create | Refusal | None], prefix: str = ""
) -> None:
    """Count the decision of every call, in order. None is a call that was not decided, because another was refused."""
    refused = any(isinstance(decision, Refusal) for decision in decisions)
    for call, decision in zip(calls, decisions, strict=True):
        if isinstance(decision, Refusal):
            telemetry.decided(f"{prefix}refused", decision.reason, call.reference, decision.detail)
        elif refused or decision is None:
            telemetry.decided(f"{prefix}refused", Reason.BATCH_REFUSED, call.reference)
        else:
            how = decision.grounds if isinstance(decision, Allow) else Grounds.CREATED
            telemetry.decided(f"{prefix}{how.value}", None, call.reference)
