"""Mode `shadow`: every request is forwarded at once; a copy of what is guarded is decided after the response."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.doors.asgi import begin
from sidecar.doors.body.body_copy import BodyCopy
from sidecar.doors.body.bounded_body import BodyBudget, BodyRefused, Replay
from sidecar.doors.middleware import run_permitted
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Classification, Extractor
from sidecar.guard.ports import Telemetry
from sidecar.guard.shadow import ShadowGuard
from sidecar.model import Call, Extraction, Head


class ShadowMiddleware:
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
        self._app = app
        self._extractor = extractor
        self._guard = guard
        self._telemetry = telemetry
        self._unguarded = unguarded
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head, classification, _ = begin(scope, self._extractor)
        if classification is None or classification.after is not None:
            looked_at = receive if self._unguarded is None else self._unguarded.looking(head, receive)
            await run_permitted(self._app, self._guard.pass_through(), scope, looked_at, send)
        elif not classification.needs_body:
            await run_permitted(self._app, self._guard.permit_unread(), scope, receive, send)
            self._guard.observe(classification.extract(b""))
        else:
            with self._budget.lease() as lease:
                copy = BodyCopy(head.headers, receive, lease, self._budget.limit)
                await run_permitted(self._app, self._guard.permit_unread(), scope, copy.receive, send)
            if copy.is_whole:
                self._guard.observe(await self._extract(classification, head, copy))
            else:
                self._telemetry.shadow_dropped()

    async def _extract(self, classification: Classification, head: Head, copy: BodyCopy) -> Extraction:
        try:
            async with self._budget.hold(head.headers, Replay(b"".join(copy.pieces), copy.receive).receive) as body:
                return classification.extract_coded(body.raw, body.content)
        except BodyRefused as refused:
            return Extraction(classification.refusal_format, (Call(refusal=refused.refuse),))
