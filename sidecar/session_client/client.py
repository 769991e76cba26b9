"""The session service over HTTP: looks sessions up and creates them, and concludes only what the answer proves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import structlog

from sidecar.cache.clock import elapsed
from sidecar.guard.ports import Telemetry
from sidecar.guard.verdicts import Absent, Created, Found, Invalid, Unknown, Untrustworthy, Verdict
from sidecar.model import Reference
from sidecar.profile.profile import Owner
from sidecar.profile.session_api import SessionApi
from sidecar.session_client.answers import OTHER_ID, Doubt, Interpreter, Reply
from sidecar.session_client.breaker import Breaker
from sidecar.session_client.calls import SessionCall, UnwritableCall, bearer_field
from sidecar.session_client.discovery import Discovery
from sidecar.session_client.retries import persist
from sidecar.session_client.transport import NoAnswer, Transport
from sidecar.settings import Settings, text_of

_NO_INSTANCE: Final = Unknown("no instance of the session service is known")
_LATE: Final = Unknown("the session service did not answer in time")
_MINTS: Final = Untrustworthy("it gives sessions ids of its own, so the sidecar creates no more until it is restarted")


_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Question:
    """One kind of request and the way its reply is read; `operation` is its name in the metrics."""

    operation: str
    call: SessionCall
    read: Callable[[Reply, Reference], Verdict | Doubt]


class HttpSessionService:
    """The `SessionService` port over HTTP. The transport is not closed here.

    `timeout` is in seconds and covers one `look` or `ensure`, retries included. `scope_names` are the profile's
    names for the parts of a reference's scope. `mints` is True once a create call was answered with another id and
    the one that was asked for is missing: from then on nothing is created until a restart.
    """

    def __init__(
        self,
        transport: Transport,
        discovery: Discovery,
        telemetry: Telemetry,
        api: SessionApi,
        *,
        token: str | None = None,
        timeout: float = 2.0,
        scope_names: Sequence[str] = (),
        owner: Owner = Owner.REQUIRED,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
        if token is not None:
            headers.append(bearer_field(token))
        is_ours = api.is_default
        interpreter = Interpreter(api, scope_names, owner)
        self.mints = False
        self._transport = transport
        self._discovery = discovery
        self._telemetry = telemetry
        self._is_ours = is_ours
        self._is_idempotent = api.idempotent_create
        look_call = SessionCall(api.look, scope_names, headers, api.credentials)
        self._looking = _Question("look", look_call, interpreter.looked)
        self._creating: _Question | None = None
        if api.create is not None:
            create_call = SessionCall(api.create, scope_names, headers, api.credentials)
            self._creating = _Question("ensure" if is_ours else "create", create_call, interpreter.made)
        self._timeout = timeout
        self._clock = clock
        self._breaker = Breaker(lambda is_open: telemetry.breaker(is_open=is_open), clock)
        # A foreign service's first create call is made alone: should it mint ids, it has made one junk session.
        self._is_proven = is_ours
        self._proving = asyncio.Lock()

    @classmethod
    def from_settings(
        cls, settings: Settings, transport: Transport, discovery: Discovery, telemetry: Telemetry
    ) -> Self:
        """Ask as the settings and their profile say."""
        profile = settings.profile
        return cls(
            transport,
            discovery,
            telemetry,
            profile.service,
            token=text_of(settings.session_service_token),
            timeout=settings.session_timeout,
            scope_names=profile.scope,
            owner=profile.owner,
        )

    async def look(self, reference: Reference) -> Verdict:
        """Look the session up."""
        return await self._look(reference, self._deadline())

    async def ensure(self, reference: Reference) -> Verdict:
        """Create the session where it is missing, in one call where that is safe, and prove that it is the one."""
        deadline = self._deadline()
        if self._creating is not None and not self.mints:
            if self._is_ours:
                return await self._persist(self._put, reference, deadline)
            if self._is_idempotent:
                return await self._create(reference, deadline)
        answer = await self._look(reference, deadline)
        if isinstance(answer, Absent) and self._creating is not None:
            return await self._create(reference, deadline)
        return answer

    async def create(self, reference: Reference) -> Verdict:
        """Create the session without a look before or after; `Created` alone says that it was missing until now."""
        if self._creating is None:
            return Untrustworthy("the profile has no create call")
        return _settled(await self._prove_and_post(reference, self._deadline()))

    async def _persist(
        self, ask: Callable[[Reference, float], Awaitable[Verdict]], reference: Reference, deadline: float
    ) -> Verdict:
        return await persist(lambda: ask(reference, deadline), deadline, is_held_back=lambda: self._breaker.is_open)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout

    async def _look(self, reference: Reference, deadline: float) -> Verdict:
        return await self._persist(self._look_once, reference, deadline)

    async def _create(self, reference: Reference, deadline: float) -> Verdict:
        """Create what a look did not find; when the reply leaves a doubt, look again."""
        made = await self._prove_and_post(reference, deadline)
        if not isinstance(made, Doubt):
            return made
        answer = await self._look(reference, deadline)
        return made.otherwise if isinstance(answer, Absent) else answer

    async def _prove_and_post(self, reference: Reference, deadline: float) -> Verdict | Doubt:
        if self._is_proven:
            return await self._post(reference, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                await self._proving.acquire()
        except TimeoutError:
            return _LATE
        try:
            # Its calls end at the deadline by themselves. Cut off from outside, it would not learn that ids are minted.
            made = await self._post(reference, deadline)
        finally:
            self._proving.release()
        if isinstance(made, Created) or (self._is_idempotent and isinstance(made, Found)):
            self._is_proven = True
        return made

    async def _post(self, reference: Reference, deadline: float) -> Verdict | Doubt:
        made = await self._make(reference, deadline)
        # What failed may have been done all the same, and is not repeated blindly.
        return Doubt(made) if isinstance(made, Unknown) else made

    async def _put(self, reference: Reference, deadline: float) -> Verdict:
        return _settled(await self._make(reference, deadline))

    async def _make(self, reference: Reference, deadline: float) -> Verdict | Doubt:
        if self.mints or self._creating is None:
            return _MINTS
        made = await self._ask(self._creating, reference, deadline)
        if made is OTHER_ID and await self._is_missing(reference, deadline):
            self.mints = True
            _log.error(
                "the session service made a session under another id; no more are created until a restart",
                session_id=reference.session_id,
            )
        return made

    async def _is_missing(self, reference: Reference, deadline: float) -> bool:
        """Whether a create call that was answered with another id left nothing under the one that was asked for.

        A wrong answer about one session must not stop creation for all. A foreign service
        that gives no answer counts as one that made another id: each further attempt may leave a session.
        """
        seen = await self._look_once(reference, deadline)
        return isinstance(seen, Absent) or (isinstance(seen, Unknown) and not self._is_ours)

    async def _look_once(self, reference: Reference, deadline: float) -> Verdict:
        return _settled(await self._ask(self._looking, reference, deadline))

    async def _ask(self, question: _Question, reference: Reference, deadline: float) -> Verdict | Doubt:
        """Ask once, unless calls are held back; count the call and report its outcome to breaker and discovery."""
        held = self._breaker.hold(reference.key)
        if held is not None:
            return Unknown("the session service has been failing and is left alone for a moment", held)
        url = self._discovery.pick()
        if url is None:
            return _NO_INSTANCE
        try:
            call = question.call.write(url, reference)
        except UnwritableCall as error:
            return Invalid(str(error))
        started = self._clock()
        answer: Verdict | Doubt
        is_reached, unreachable, is_limited = False, False, False
        try:
            reply = await self._transport.call(call, deadline)
        except TimeoutError:
            told, answer = "none in time", _LATE
        except NoAnswer as failure:
            told = f"none ({failure})"
            answer = Unknown(f"the session service could not be asked: {failure}")
            unreachable = True
        else:
            told, answer = str(reply.status), question.read(reply, reference)
            is_reached = True
            # Too many requests (RFC 6585, section 4) of one client's credentials are no failure of the service.
            is_limited = reply.status == 429 and reference.credentials is not None
        self._discovery.report(url, ok=is_reached)
        self._telemetry.session_answer(reference, told, url)
        took = self._clock() - started
        if took > self._timeout:
            # This process was stopped while the answer lay in its buffers; the event loop has not noticed yet.
            answer = _LATE
        self._telemetry.session_call(question.operation, type(answer).__name__.lower(), took)
        if not isinstance(_settled(answer), Unknown):
            self._breaker.succeeded(reference.key)
        elif not is_limited:
            self._breaker.failed(reference.key, unreachable=unreachable)
        return answer


def _settled(answer: Verdict | Doubt) -> Verdict:
    """Take a doubt for its `otherwise` where no look follows."""
    return answer.otherwise if isinstance(answer, Doubt) else answer
