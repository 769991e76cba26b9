"""What the guard needs from outside: the session service, the journal of debts and telemetry.

The rooms of those names implement the ports, `sidecar.testing` fakes them; both pass the same tests in
`tests/contract/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mypy_extensions import mypyc_attr

from sidecar.guard.verdicts import Conflict, Created, Found, Gone, Owed, Unknown, Verdict
from sidecar.model import Reason, Reference, SessionKey


class SessionService(Protocol):
    """Asks about sessions and creates them. No method raises for what the service does or fails to do."""

    async def look(self, reference: Reference) -> Verdict:
        """Say what is known of the session; never creates one."""
        ...

    async def ensure(self, reference: Reference) -> Verdict:
        """Create the session where it is missing; safe to repeat, also at the same instant."""
        ...

    async def create(self, reference: Reference) -> Verdict:
        """Create, without a look, a session that another has said to be missing.

        `Created` alone says that it did not exist until now.
        """
        ...


class DebtNotWritten(Exception):
    """The journal of debts could not be written or read; the message is one sentence."""


class Debts(Protocol):
    """The journal of sessions owed to the session service, each with its claimant."""

    async def owe(self, reference: Reference) -> Owed | Conflict | Gone:
        """Write down that the session has to be created; durable before it returns, and safe to repeat.

        `Owed` names the session's first claimant, who may be another user. `Conflict` and `Gone`: an earlier debt of
        this user's could not be paid for that reason, which still holds, and nothing is written. Raises DebtNotWritten.
        """
        ...

    def claimant(self, key: SessionKey) -> Owed | Unknown | None:
        """Give the owner of the session while a debt for it is unpaid; Unknown where that cannot be read.

        Answers at once.
        """
        ...

    def any_owed(self) -> bool:
        """Whether any debt is due, those set aside left out. Answers at once."""
        ...

    async def due(self, limit: int, *, set_aside: bool = False) -> Sequence[Reference]:
        """Give at most `limit` unpaid debts, oldest first. Raises DebtNotWritten.

        With `set_aside`, give those that were set aside, the least often tried first.
        """
        ...

    async def set_aside(self, reference: Reference, why: str) -> None:
        """Keep a debt that fails for a reason of its own apart, so that it holds up no other. Raises DebtNotWritten."""
        ...

    async def settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        """Strike a debt off: paid, or never to be paid because the session is another's or gone (kept as a conflict).

        Raises DebtNotWritten.
        """
        ...


@mypyc_attr(allow_interpreted_subclasses=True)
class Telemetry:
    """Records what happened; no method raises or waits. This base class records nothing."""

    def decided(
        self,
        decision: str,
        reason: Reason | None = None,
        reference: Reference | None = None,
        detail: str | None = None,
    ) -> None:
        """One request, or one call of a batch, was decided: `known`, `created`, `refused`, and so on."""

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The memory service gave no answer to the current request, or broke it off."""

    def unguarded_write(self) -> None:
        """The current request is a write that passed although a name that the profile watches stands in it."""

    def session_answer(self, reference: Reference, answer: str, address: str) -> None:
        """The session service at `address` answered a question about the session: a status, or why there was none."""

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        """The session service was asked once (`look`, `ensure`, …) and answered, or failed, after `seconds`."""

    def breaker(self, *, is_open: bool) -> None:
        """The circuit breaker before the session service opened or closed."""

    def events_connected(self, *, connected: bool) -> None:
        """The session event stream came up or was lost."""

    def debt_conflict(self, reference: Reference, outcome: str) -> None:
        """A session owed to the session service could not be paid: another user owns it, or it was deleted."""

    def shadow_dropped(self) -> None:
        """Shadow mode had no room left to decide a request on the side."""

    def upstream(self, seconds: float) -> None:
        """The memory service gave its first response byte after `seconds`."""

    def overhead(self, seconds: float) -> None:
        """This program itself spent `seconds` on a request, the waiting for the memory service left out."""
