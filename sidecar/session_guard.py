"""The guard and the parts that it needs, wired from Settings: the proxy, the authoriser and library users run it.

`SessionGuard` is public, as `from sidecar import SessionGuard`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import structlog
from starlette.types import ASGIApp

from sidecar.background import started
from sidecar.cache.session_cache import SessionCache
from sidecar.doors.answers import AnswerMiddleware
from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.middleware import EnforceMiddleware, GuardMiddleware
from sidecar.doors.refusal import Response, refuse_extraction
from sidecar.doors.shadow import ShadowMiddleware
from sidecar.doors.unguarded import UnguardedWrites
from sidecar.extract.extractor import Extractor, NothingGuarded
from sidecar.guard.decisions import OnEnded, OnOutage, Policy
from sidecar.guard.guard import Guard, OpenGuard
from sidecar.guard.permit import Permit
from sidecar.guard.ports import SessionService
from sidecar.guard.recovery import Recovery
from sidecar.guard.shadow import ShadowGuard
from sidecar.model import Extraction, Head, Refusals
from sidecar.observability.metrics import Metrics
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.request_context import enter_request
from sidecar.session_client.client import HttpSessionService
from sidecar.session_client.discovery import Discovery, discovery_of
from sidecar.session_client.events import EventFollower
from sidecar.session_client.transport import Transport
from sidecar.settings import Settings, text_of

if TYPE_CHECKING:
    from sidecar.outbox.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Decision:
    """What `SessionGuard.decide` says of a request: exactly one of the two is set.

    `permit` admits it; in mode `enforce` every session that it names exists by then. `response` refuses it: status,
    fields and body as the proxy would answer.
    """

    permit: Permit | None = None
    response: Response | None = None


class SessionGuard:
    """The guard of one process. It decides in its `async with` block, and works in the background until that ends.

    `metrics` is a collector for a prometheus-client registry.
    """

    def __init__(self, settings: Settings, *, telemetry: LoggedMetrics | None = None) -> None:
        self.settings = settings
        self.telemetry = telemetry or LoggedMetrics(
            Metrics(), structlog.get_logger("sidecar"), upstream_url=settings.upstream
        )
        self.metrics = self.telemetry.metrics
        self.extractor: Extractor | NothingGuarded = NothingGuarded()
        self.guard: Guard | ShadowGuard | OpenGuard = OpenGuard(self.telemetry)
        self.unguarded: UnguardedWrites | None = None
        self.known: SessionCache | None = None
        self.discovery: Discovery | None = None
        self.has_outbox = False
        self.budget = BodyBudget(limit=settings.max_body, total=settings.max_buffered)
        self._recovery: Recovery | None = None
        self._stack = contextlib.AsyncExitStack()
        self._is_open = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make a guard as `settings` say. It opens no file and no connection before its `async with` block begins."""
        return cls(settings)

    async def __aenter__(self) -> Self:
        """Open the cache, the connections to the session service and, where there are debts, the outbox.

        Raises sidecar.guard.ports.DebtNotWritten where the outbox cannot be opened.
        """
        await self._stack.__aenter__()
        try:
            if self.settings.mode != "off":
                await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        self._is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for what is being asked or written down, then close everything."""
        self._is_open = False
        await self._stack.aclose()

    def check_open(self) -> None:
        """Raise RuntimeError outside of the `async with` block."""
        if not self._is_open:
            raise RuntimeError("the SessionGuard is not open: it decides in its `async with` block")

    async def _start(self) -> None:
        settings, profile = self.settings, self.settings.profile
        known = SessionCache(
            settings.cache_size,
            settings.cache_ttl,
            followed=profile.service.events is not None,
            ended_admits=settings.on_ended == "forward",
        )
        self.metrics.publish("sidecar_known_sessions", lambda: len(known))
        self.metrics.publish("sidecar_known_session_lookups", lambda: {"hit": known.hits, "miss": known.misses})
        discovery = await self._stack.enter_async_context(started(discovery_of(settings)))
        self.known, self.discovery = known, discovery
        transport = await self._stack.enter_async_context(Transport())
        api = profile.service
        if api.events is not None:
            token = text_of(settings.session_service_token)
            follower = EventFollower(
                discovery, known, self.telemetry, path=api.events, canonical=api.canonical, token=token
            )
            self.metrics.publish("sidecar_events_connected", lambda: self.metrics.events_connected)
            await self._stack.enter_async_context(started(follower))
        service = HttpSessionService.from_settings(settings, transport, discovery, self.telemetry)
        self.metrics.publish("sidecar_creation_stopped", lambda: service.mints)
        extractor = self.extractor = Extractor(profile, id_format=settings.id_format, user_header=settings.user_header)
        self.unguarded = UnguardedWrites(profile.session_names, extractor.has_rule, self.telemetry)
        policy = Policy(settings.session_timeout, OnOutage(settings.on_outage), OnEnded(settings.on_ended))
        if settings.mode == "shadow":
            self.guard = ShadowGuard(known, service, self.telemetry, policy, creates=api.creates_by_id)
        else:
            debts = await self._debts(service, known)
            self.guard = Guard(known, service, self.telemetry, policy, debts)
            if profile.acts_on_answers:
                after_delete = settings.after_delete or profile.after_delete.value
                self._recovery = Recovery(service, known, self.telemetry, refuse_deleted=after_delete == "refuse")
                self._stack.push_async_callback(self._recovery.aclose)
        self._stack.push_async_callback(self.guard.aclose)

    async def _debts(self, service: SessionService, known: SessionCache) -> Outbox | None:
        """The journal, where one is wanted or where an earlier run left debts behind."""
        path = self.settings.outbox
        if self.settings.on_outage != "forward" and not path.exists():
            return None
        from sidecar.outbox.outbox import Outbox  # noqa: PLC0415 # brings SQLite
        from sidecar.outbox.relay import OutboxRelay  # noqa: PLC0415

        debts = Outbox(path)
        self._stack.push_async_callback(debts.aclose)
        relay = OutboxRelay(debts, service, known, self.telemetry, path)
        await self._stack.enter_async_context(started(relay))
        self.metrics.publish("sidecar_debts", debts.count)
        self.has_outbox = True
        return debts

    def guarding(self, app: ASGIApp, *, reads_answers: bool = True) -> ASGIApp:
        """Wrap an ASGI application: the middleware of the mode that the settings name.

        Without `reads_answers` the rules that act on the memory service's answers do nothing: `app` does not give them.
        Raises RuntimeError outside of the `async with` block.
        """
        self.check_open()
        guard, extractor, recovery = self.guard, self.extractor, self._recovery
        if isinstance(extractor, NothingGuarded) or isinstance(guard, OpenGuard):
            return GuardMiddleware(app, extractor=NothingGuarded(), guard=OpenGuard(self.telemetry))
        if isinstance(guard, ShadowGuard):
            return ShadowMiddleware(
                app,
                extractor=extractor,
                guard=guard,
                telemetry=self.telemetry,
                budget=self.budget,
                unguarded=self.unguarded,
            )
        if recovery is not None and reads_answers:
            app = AnswerMiddleware(
                app,
                extractor=extractor,
                recovery=recovery,
                budget=self.budget,
                scope_names=self.settings.profile.scope,
            )
        return EnforceMiddleware(
            app,
            extractor=extractor,
            guard=guard,
            budget=self.budget,
            telemetry=self.telemetry,
            unguarded=self.unguarded,
        )

    @property
    def authorize(self) -> Callable[[Extraction, int], Awaitable[Permit | Refusals]] | None:
        """Decides requests on the fast path that are not known; None in a mode that refuses none."""
        return self.guard.authorize if isinstance(self.guard, Guard) else None

    async def decide(
        self,
        method: str,
        target: str | bytes,
        headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> Decision:
        """Decide a request that has come by another way than ASGI, and create its sessions where they are missing.

        `target` is the request target of RFC 9112, section 3.2, percent-encoded as it was sent. `headers` are the
        fields, as a mapping of texts or as pairs of bytes in which a name may stand twice; letter case does not matter.
        `body` is without content coding. In mode `shadow` and `off` every request is permitted, and so is one under a
        rule that acts on the answer (`recover`, `forget`).

        Raises RuntimeError outside of the `async with` block, and UnicodeEncodeError for a target outside of ASCII or a
        field outside of Latin-1.
        """
        self.check_open()
        head = Head(method, target.encode("ascii") if isinstance(target, str) else target, _fields(headers))
        enter_request(head)
        classification = self.extractor.classify(head)
        if classification is None or classification.after is not None:
            return Decision(self.guard.pass_through())
        extraction = classification.extract(body if classification.needs_body else b"")
        if isinstance(self.guard, ShadowGuard):
            self.guard.observe(extraction)
            return Decision(self.guard.permit_unread())
        permit = self.guard.permit_known(extraction)
        if permit is not None or isinstance(self.guard, OpenGuard):
            return Decision(permit)
        decided = await self.guard.authorize(extraction)
        if isinstance(decided, Permit):
            return Decision(decided)
        return Decision(response=refuse_extraction(extraction, decided.refusals))


def _fields(headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    if isinstance(headers, Mapping):
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return [(name.lower(), value) for name, value in headers]
