"""Acts on an answer of the upstream: a session that it says is missing is created, a deleted one forgotten.

Nothing is looked up. The create call alone says whether the session was missing: `Created` permits the held request to
be sent again, and any other outcome leaves the upstream's answer as it is.
"""

from __future__ import annotations

from typing import Final

from cachetools import LRUCache

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.ports import SessionService, Telemetry
from sidecar.guard.single_flight import SingleFlight
from sidecar.guard.verdicts import Created, Verdict
from sidecar.model import Grounds, Reference, SessionKey, SessionStatus

_MOST_REMEMBERED: Final = 10_000
"""Most creations whose place in the order is kept, for requests that were forwarded before them."""


class Recovery:
    """Creates missing sessions and forgets deleted ones.

    With `refuse_deleted`, a session that was deleted through this process is not created again for as long as the
    cache keeps its tombstone.
    """

    def __init__(
        self, service: SessionService, known: SessionCache, telemetry: Telemetry, *, refuse_deleted: bool
    ) -> None:
        self._service = service
        self._known = known
        self._telemetry = telemetry
        self._refuse_deleted = refuse_deleted
        self._single_flight: SingleFlight[tuple[Reference, Verdict]] = SingleFlight()
        self._now = 0
        self._created: LRUCache[SessionKey, int] = LRUCache(_MOST_REMEMBERED)

    def ticket(self) -> int:
        """Give the place of a request in the order of creations, to be taken before the request is forwarded."""
        return self._now

    async def recover(self, reference: Reference, ticket: int) -> bool:
        """Whether the session, missing for a request with this ticket, has been created since.

        Requests that miss one session share one create call, and its failure where they would ask the same. A request
        that the upstream answered before another's create call ended needs no call of its own.
        """
        while not self._is_deleted(reference):
            if self._created.get(reference.key, -1) >= ticket:
                return True
            (made_for, answer), led = await self._single_flight.share(reference.key, lambda: self._create(reference))
            if isinstance(answer, Created):
                return True
            if led or made_for.asks_like(reference):
                return self._created.get(reference.key, -1) >= ticket
        return False

    def forget(self, reference: Reference) -> None:
        """Note that the session was deleted: it is no longer known, or known to be deleted."""
        self._created.pop(reference.key, None)
        if self._refuse_deleted:
            self._known.bury(reference.key)
        else:
            self._known.forget(reference.key)

    async def aclose(self) -> None:
        """Wait for the create calls that are under way."""
        await self._single_flight.landed()

    async def _create(self, reference: Reference) -> tuple[Reference, Verdict]:
        answer = await self._service.create(reference)
        if isinstance(answer, Created):
            self._created[reference.key] = self._now
            self._now += 1
            self._telemetry.decided(Grounds.CREATED.value, None, reference)
        return reference, answer

    def _is_deleted(self, reference: Reference) -> bool:
        session = self._known.recall(reference.key) if self._refuse_deleted else None
        return session is not None and session.status is SessionStatus.DELETED
