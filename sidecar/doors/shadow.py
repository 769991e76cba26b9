"""Mode `shadow`: every request is forwarded at once; a copy of what is guarded is decided after the response."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.doors.body.body_copy import BodyCopy
from sidecar.doors.body.bounded_body import BodyBudget, BodyRefused, Replay
from sidecar.doors.middleware import GuardMiddleware
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Classification, Extractor
from sidecar.guard.ports import Telemetry
from sidecar.guard.shadow import ShadowGuard
from sidecar.model import Call, Extraction, Headers


class ShadowMiddleware(GuardMiddleware):
    """Permits everything, and has the guard decide on the side, by copies of bodies within `budget`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        extractor: Extractor,
        guard: ShadowGuard,
        telemetry: Telemetry,
        budget: BodyBudget,
        unguarded: UnguardedWrites | None = None,
    ) -> None:
        super().__init__(app, extractor=extractor, guard=guard, unguarded=unguarded)
        self._guard = guard
        self._telemetry = telemetry
        self._budget = budget

    async def _serve_guarded(self, classification: Classification, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request, and have it decided afterwards."""
        if not classification.needs_body:
            await self._run(self._guard.permit_unread(), scope, receive, send)
            self._guard.observe(classification.extract(b""))
            return
        with self._budget.lease() as lease:
            copy = BodyCopy(scope["headers"], receive, lease, self._budget.limit)
            await self._run(self._guard.permit_unread(), scope, copy.receive, send)
        if copy.is_whole:
            self._guard.observe(await self._extract(classification, scope["headers"], copy))
        else:
            self._telemetry.shadow_dropped()

    async def _extract(self, classification: Classification, headers: Headers, copy: BodyCopy) -> Extraction:
        try:
            async with self._budget.hold(headers, Replay(b"".join(copy.pieces), copy.receive).receive) as body:
                return classification.extract_coded(body.raw, body.content)
        except BodyRefused as refused:
            return Extraction(classification.refusal_format, (Call(refusal=refused.refuse),))
