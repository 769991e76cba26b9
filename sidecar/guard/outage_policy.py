"""The guard and debts: it minds those that are there and, in an outage, where the policy says so, makes more."""

from __future__ import annotations

import enum

from sidecar.guard.ports import DebtNotWritten, Debts
from sidecar.model import Conflict, Gone, Owed, Reference, RuleKind, SessionKey, Unknown, Verdict


class OnOutage(enum.StrEnum):
    """What becomes of a write while it is unknown whether its session exists."""

    REJECT = "reject"
    FORWARD = "forward"


class OutagePolicy:
    """The policy for an outage over the journal of debts, if one is kept.

    Raises ValueError for `FORWARD` without a journal.
    """

    def __init__(self, debts: Debts | None, on_outage: OnOutage) -> None:
        if on_outage is OnOutage.FORWARD and debts is None:
            raise ValueError("forwarding in an outage needs a journal of debts")
        self._debts = debts
        self._forwards = on_outage is OnOutage.FORWARD

    def claim(self, reference: Reference) -> Owed | Unknown | None:
        """Say to whom an owed session belongs; None where the session service has to be asked.

        The claimant of a debt that is set aside has to ask too: the service answers, and may say more by now.
        """
        claim = None if self._debts is None else self._debts.claimant(reference.key)
        if isinstance(claim, Owed) and claim.set_aside and claim.owner == reference.user_id:
            return None
        return claim

    def is_owed(self, key: SessionKey) -> bool:
        """Whether there is a debt for the session, or may be."""
        return self._debts is not None and self._debts.claimant(key) is not None

    def answers(self, reference: Reference, answer: Verdict | Owed) -> bool:
        """Whether a debt is the way out. A session that a rule only requires is not one to be created later."""
        return self._forwards and isinstance(answer, Unknown) and reference.kind is RuleKind.ENSURE

    async def owe(self, reference: Reference) -> Owed | Conflict | Gone | Unknown:
        """Write the debt down and name the first claimant; Unknown where that failed.

        `Conflict` and `Gone` where it is known already that the debt could not be paid.
        """
        assert self._debts is not None  # noqa: S101 # for the type checker: nothing is owed unless a journal is kept
        try:
            return await self._debts.owe(reference)
        except DebtNotWritten as error:
            return Unknown(f"the debt could not be written down: {error}")
