"""What the fast path is made of: the same extractor, guard and forwarder as the application behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sidecar.doors.fast_path.first_write import Asking
from sidecar.doors.refusal import Response
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Classification
from sidecar.guard.permit import Permit
from sidecar.http.ports import FastForwarder, UpstreamError
from sidecar.model import Extraction, Head


class Classifier(Protocol):
    """Says what the head of a request alone says."""

    def classify(self, head: Head) -> Classification | None:
        """Classify the request; None where no rule looks at it."""
        ...


class ImmediateGuard(Protocol):
    """The part of a guard that answers at once."""

    def pass_through(self) -> Permit:
        """Permit a request that no rule looks at."""
        ...

    def permit_known(self, extraction: Extraction) -> Permit | None:
        """Permit what needs no question; None leaves the request to the application."""
        ...


@dataclass(frozen=True, slots=True)
class FastPath:
    """What the fast path decides with and forwards by; the application behind it uses the same."""

    extractor: Classifier
    guard: ImmediateGuard
    forwarder: FastForwarder
    unanswered: Callable[[Extraction | None, UpstreamError], Response]
    """Answers a request that was forwarded in vain."""
    unguarded: UnguardedWrites | None = None
    asking: Asking | None = None
    """Decides what the guard cannot decide at once; without it that is the application's."""
