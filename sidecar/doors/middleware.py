"""The guard as ASGI middleware: it decides a request before the application behind it sees any of it.

The application may be one that forwards (the proxy) or one that serves memories itself. It finds the permit in its
scope.
"""

from __future__ import annotations

from typing import ClassVar, Final

from mypy_extensions import mypyc_attr
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.doors.asgi import PERMIT, classify_foreign, respond
from sidecar.doors.body.bounded_body import BodyBudget, BodyRefused
from sidecar.doors.refusal import Response, refuse_extraction, refuse_request
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Classification, Extractor, NothingGuarded
from sidecar.guard.guard import Guard, ImmediateGuard
from sidecar.guard.permit import Permit, PermitLapsed
from sidecar.guard.ports import Telemetry
from sidecar.http.client.response import ClientGone, UpstreamError
from sidecar.http.ports import WIRE, Wire
from sidecar.model import NOTIFICATION, Call, Extraction, Head, Refusal, RefusalFormat
from sidecar.request_context import enter_request

_UNREAD: Final = Extraction(RefusalFormat.REST, (Call(),))


def begin(scope: Scope, extractor: Extractor | NothingGuarded) -> tuple[Head, Classification | None]:
    """Classify a request, and have what is logged and asked from here on name it.

    Gives the classification, and the head that it follows from.
    """
    wire: Wire | None = scope.get(WIRE)
    if wire is None:
        return classify_foreign(scope, extractor)
    head = wire.head
    enter_request(head)
    return head, head.classify(extractor.classify)


@mypyc_attr(allow_interpreted_subclasses=True)
class GuardMiddleware:
    """Classifies requests, and permits those that no rule looks at: in mode `off` all of them.

    In a mode that has rules, a subclass serves the others.
    """

    types: ClassVar[tuple[str, ...]] = ("http",)
    """The types of ASGI scope that are requests; others pass."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        extractor: Extractor | NothingGuarded,
        guard: ImmediateGuard,
        unguarded: UnguardedWrites | None = None,
    ) -> None:
        self._app = app
        self._extractor = extractor
        self._immediate = guard
        self._unguarded = unguarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on a scope of another type."""
        if scope["type"] not in self.types:
            await self._app(scope, receive, send)
            return
        head, classification = begin(scope, self._extractor)
        if classification is not None and classification.after is None:
            await self._serve_guarded(classification, scope, receive, send)
            return
        if self._unguarded is not None:
            receive = self._unguarded.looking(head, receive)
        await self._run(self._immediate.pass_through(), scope, receive, send)

    async def _serve_guarded(self, classification: Classification, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that a rule looks at."""
        raise NotImplementedError

    async def _run(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for a request of which nothing was read; the upstream's failure is answered as REST."""
        scope[PERMIT] = permit
        try:
            await self._app(scope, receive, send)
        except UpstreamError as error:
            await respond(scope, send, refuse_unanswered(None, error))


class EnforceMiddleware(GuardMiddleware):
    """Mode `enforce`: forwards what the guard permits and refuses the rest.

    `app` may raise PermitLapsed and UpstreamError before it has received or sent anything: the guard then decides
    again, or the middleware answers in the application's place.
    """

    types = ("http", "websocket")

    def __init__(
        self,
        app: ASGIApp,
        *,
        extractor: Extractor,
        guard: Guard,
        budget: BodyBudget,
        telemetry: Telemetry,
        unguarded: UnguardedWrites | None = None,
    ) -> None:
        super().__init__(app, extractor=extractor, guard=guard, unguarded=unguarded)
        self._guard = guard
        self._budget = budget
        self._telemetry = telemetry

    async def _serve_guarded(self, classification: Classification, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, where it is needed, and decide by it, or by what the fast path extracted from it."""
        if not classification.needs_body or scope["type"] != "http":
            await self._decide(classification.extract(b""), scope, receive, send)
            return
        try:
            async with self._budget.hold(scope["headers"], receive) as body:
                wire: Wire | None = scope.get(WIRE)
                known = None if wire is None else wire.extraction
                extraction = known or classification.extract_coded(body.raw, body.content)
                await self._decide(extraction, scope, body.receive, send)
        except BodyRefused as refused:
            self._telemetry.decided("refused", refused.refuse.reason, None, refused.refuse.detail)
            await respond(scope, send, refuse_request(classification.refusal_format, refused.refuse))
        except ClientGone:
            return

    async def _decide(self, extraction: Extraction, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a permit, or refuse. A permit that lapses before it is used is asked for again."""
        decided = self._guard.permit_known(extraction) or await self._guard.authorize(extraction)
        lapses = 0
        while isinstance(decided, Permit):
            scope[PERMIT] = decided
            try:
                await self._app(scope, receive, send)
            except PermitLapsed:
                lapses += 1
                decided = await self._guard.authorize(extraction, lapses)
            except UpstreamError as error:
                await respond(scope, send, refuse_unanswered(extraction, error))
                return
            else:
                return
        await respond(scope, send, refuse_extraction(extraction, decided.refusals))


def refuse_unanswered(extraction: Extraction | None, error: UpstreamError) -> Response:
    """Answer a request that the upstream left without a response, in its own format; an unread one as REST.

    MCP messages that expect no answer get the status all the same: 202 would say that they have arrived.
    """
    read = extraction or _UNREAD
    refusal = Refusal(error.reason, error.detail, retry_after=error.retry_after)
    if all(call.rpc_id is NOTIFICATION for call in read.calls):
        return refuse_request(read.refusal_format, refusal)
    return refuse_extraction(read, (refusal,) * len(read.calls))
