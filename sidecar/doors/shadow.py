"""Mode `shadow`: every request is forwarded at once; a copy of what is guarded is decided after the answer has gone."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.doors.bounded_body import BodyBudget, BodyReader, BodyRefused, Lease, replay
from sidecar.doors.proxy import begin, forward_unread, head_of, unanswered
from sidecar.doors.refusal import Response
from sidecar.extract.extractor import Extractor
from sidecar.guard.shadow import Shadow
from sidecar.model import Call, Classification, Extraction, Grounds, Head, Permit
from sidecar.ports import Forwarder, Message, Receive, Scope, Send, Telemetry, UpstreamError

_PASSED = Permit(Grounds.PASSED)


class ShadowHandler:
    """Forwards everything, and notes what the guard would have said. `limit` is the most bytes of a body it copies."""

    def __init__(
        self,
        reader: Extractor,
        shadow: Shadow,
        forwarder: Forwarder,
        telemetry: Telemetry,
        *,
        bodies: BodyReader,
        budget: BodyBudget,
        limit: int,
    ) -> None:
        self._reader = reader
        self._shadow = shadow
        self._forwarder = forwarder
        self._telemetry = telemetry
        self._bodies = bodies
        self._budget = budget
        self._limit = limit

    def prepare(self, head: Head) -> Callable[[bytes], Permit | None]:
        """Let the fast lane take only what would be passed anyway: it leaves no moment to look afterwards."""
        passes = self._reader.plan(head) is None
        return lambda _body: self._shadow.passed() if passes else None

    def passing(self, head: Head) -> Callable[[], Permit] | None:
        """Let the fast lane take what no rule looks at."""
        return self._shadow.passed if self._reader.plan(head) is None else None

    def unanswered(self, _head: Head, _body: bytes, error: UpstreamError) -> Response:
        """Give the answer for a request that the fast lane forwarded in vain."""
        return unanswered(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begin(scope)
        head = head_of(scope)
        plan = self._reader.plan(head)
        if plan is None:
            await forward_unread(self._forwarder, self._shadow.passed(), scope, receive, send)
        elif isinstance(plan, Extraction):
            await forward_unread(self._forwarder, _PASSED, scope, receive, send)
            self._shadow.shadow(plan)
        else:
            with self._budget.lease() as lease:
                copy = _Copy(receive, lease, self._limit)
                await forward_unread(self._forwarder, _PASSED, scope, copy.receive, send)
            if copy.is_whole:
                self._shadow.shadow(await self._read(plan, head, copy))
            else:
                self._telemetry.shadow_dropped()

    async def _read(self, plan: Classification, head: Head, copy: _Copy) -> Extraction:
        try:
            async with self._bodies.hold(head.headers, replay(b"".join(copy.pieces), copy.receive)) as body:
                return self._reader.read(head, body.content)
        except BodyRefused as refused:
            return Extraction(plan.shape, (Call(refusal=refused.refuse),))


class _Copy:
    """Hears a body go by, and keeps it as far as there is room."""

    def __init__(self, receive: Receive, lease: Lease, limit: int) -> None:
        self._receive = receive
        self._lease = lease
        self._limit = limit
        self.pieces: list[bytes] = []
        # A request without a body is whole before anything is received.
        self.is_whole = True

    async def receive(self) -> Message:
        """Give what the client sends, and keep it."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.is_whole = not message.get("more_body", False)
            self._keep(message.get("body", b""))
        return message

    def _keep(self, piece: bytes) -> None:
        """One byte over the limit is enough to see that the body is too large."""
        room = self._limit + 1 - self._lease.size
        if room <= 0 or not piece:
            return
        try:
            self._lease.take(len(piece[:room]))
        except BodyRefused:
            self.is_whole = False
            self._limit = 0
            return
        self.pieces.append(piece[:room])
