"""Sessions that the upstream says are missing: which requests share a create call, and what it says to each."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.recovery import Recovery
from sidecar.guard.verdicts import Conflict, Invalid, Verdict
from sidecar.model import Reference
from sidecar.testing import FakeSessionService, FakeTelemetry

ANN = Reference("s-1", "ann")
ELSEWHERE = Reference("s-1", "ann", variables=(("tenant", "t-2"),))


class Reluctant(FakeSessionService):
    """A session service that creates for all references but those that `refused` answers."""

    def __init__(self, refused: dict[tuple[object, ...], Verdict]) -> None:
        super().__init__()
        self.refused = refused
        self.calls = 0

    async def create(self, reference: Reference) -> Verdict:
        """Create, unless the user and variables are among the refused ones."""
        self.calls += 1
        await asyncio.sleep(0)
        refusal = self.refused.get((reference.user_id, reference.variables))
        return refusal or await super().create(reference)


def recovery_of(service: FakeSessionService) -> Recovery:
    known = SessionCache(100, 300.0, followed=False)
    return Recovery(service, known, FakeTelemetry(), refuse_deleted=False)


@pytest.mark.parametrize("other", [Reference("s-1", "bob"), ELSEWHERE])
async def test_a_create_call_that_failed_for_one_is_made_anew_for_another(other: Reference) -> None:
    """Another user, or other values of the profile's variables, may create what could not be created."""
    recovery = recovery_of(Reluctant({("ann", ()): Conflict()}))
    asked = (recovery.recover(reference, recovery.ticket()) for reference in (ANN, other, ANN))
    assert await asyncio.gather(*asked) == [False, True, False]


async def test_requests_that_ask_the_same_share_a_failure() -> None:
    """One create call fails for all requests that would make the same."""
    service = Reluctant({("ann", ()): Invalid()})
    recovery = recovery_of(service)
    assert not any(await asyncio.gather(*(recovery.recover(ANN, recovery.ticket()) for _ in range(10))))
    assert service.calls == 1
