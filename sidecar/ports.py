"""What the guard and the doors need from outside, as small protocols, and the exceptions these may raise.

Adapters live in `backends/`, fakes in `testing.py`; both pass the same tests in `tests/contract/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

from sidecar.core.model import Admit, Answer, Reason, Reference

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class SessionService(Protocol):
    """Asks about sessions and creates them. Neither method raises for what the service does or fails to do."""

    async def look(self, reference: Reference) -> Answer:
        """Say what is known of the session; never creates one."""
        ...

    async def ensure(self, reference: Reference) -> Answer:
        """Create the session where it is missing; safe to repeat, also at the same instant."""
        ...


class Forwarder(Protocol):
    """Hands a request on to the memory service and its answer back, byte for byte."""

    async def forward(self, admit: Admit, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request. The `admit` is the proof that somebody decided it may go.

        Raises UpstreamError while no byte of the answer was sent on; later failures break the connection, so
        that a cut answer never looks complete.
        """
        ...


class UpstreamError(Exception):
    """The memory service gave no answer; `reason` is one of `upstream_*` or `overloaded`."""

    def __init__(self, reason: Reason, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after


class Telemetry(Protocol):
    """Takes note of what happened; never fails and never waits."""

    def decided(self, decision: str, reason: Reason | None = None, reference: Reference | None = None) -> None:
        """One request, or one call of a batch, was decided: `known`, `created`, `refused`, and so on."""
        ...

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        """The session service was asked once (`look`, `ensure`, …) and answered, or failed, after `seconds`."""
        ...

    def breaker(self, *, is_open: bool) -> None:
        """The circuit breaker before the session service opened or closed."""
        ...

    def events_connected(self, *, connected: bool) -> None:
        """The session event stream came up or was lost."""
        ...

    def debt_conflict(self, reference: Reference, outcome: str) -> None:
        """A session owed to the session service could not be paid: somebody else owns it, or it was deleted."""
        ...

    def shadow_dropped(self) -> None:
        """Shadow mode had no room left to decide a request on the side."""
        ...

    def upstream(self, seconds: float) -> None:
        """The memory service gave its first response byte after `seconds`."""
        ...

    def overhead(self, seconds: float) -> None:
        """This program itself spent `seconds` on a request, the waiting for the memory service left out."""
        ...
