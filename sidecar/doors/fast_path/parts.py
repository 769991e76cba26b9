"""What the fast path is made of: the same extractor, guard and upstream as the application behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.refusal import Response
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Classification
from sidecar.guard.guard import ImmediateGuard
from sidecar.guard.permit import Permit
from sidecar.http.client.response import UpstreamError
from sidecar.http.client.upstream import Upstream
from sidecar.model import Extraction, Head, Refusals


@dataclass(frozen=True, slots=True)
class FastPath:
    """What the fast path decides with and forwards by; the application behind it uses the same."""

    classify: Callable[[Head], Classification | None]
    """Classifies a request by its head; None where no rule looks at it."""
    guard: ImmediateGuard
    upstream: Upstream
    unanswered: Callable[[Extraction | None, UpstreamError], Response]
    """Answers a request that the upstream left without a response."""
    budget: BodyBudget
    """The memory for bodies that are held."""
    unguarded: UnguardedWrites | None = None
    authorize: Callable[[Extraction, int], Awaitable[Permit | Refusals]] | None = None
    """Decides what the guard cannot decide at once (`Guard.authorize`); without it that is the application's."""
