"""What the guard and the doors need from outside, as small protocols, and the exceptions these may raise.

Adapters live in `backends/`, fakes in `testing.py`; both pass the same tests in `tests/contract/`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from sidecar.http.framing import ForwardedHead, ResponseHead
from sidecar.model import (
    Conflict,
    Created,
    Found,
    Gone,
    Headers,
    Owed,
    Permit,
    Reason,
    Reference,
    Session,
    SessionKey,
    Unknown,
    Verdict,
)

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
StillValid: TypeAlias = Callable[[], bool]


class SessionService(Protocol):
    """Asks about sessions and creates them. Neither method raises for what the service does or fails to do."""

    async def look(self, reference: Reference) -> Verdict:
        """Say what is known of the session; never creates one."""
        ...

    async def ensure(self, reference: Reference) -> Verdict:
        """Create the session where it is missing; safe to repeat, also at the same instant."""
        ...


class Discovery(Protocol):
    """Knows where instances of the session service are. Both methods return at once and never raise."""

    def pick(self) -> str | None:
        """Give the base URL of an instance (`http://…`, `https://…` or `unix:/path`, no trailing slash).

        Several instances are given in turn. None means that there is none: an outage.
        """
        ...

    def report(self, url: str, *, ok: bool) -> None:
        """Note that the instance at `url` answered, or could not be reached, so that others are picked."""
        ...


class KnownSessions(Protocol):
    """What was learnt of sessions, for as long as it may be believed."""

    def admits(self, key: SessionKey, user_id: str | None) -> bool:
        """Whether the session is known to take this user's writes. The fast lane's question: one look, no objects."""
        ...

    def get(self, key: SessionKey) -> Session | None:
        """Give what may be believed of the session now; a tombstone has the status `DELETED`."""
        ...

    def recall(self, key: SessionKey) -> Session | None:
        """Give what was last known, even if it is too old to admit anybody: in an outage it can still refuse."""
        ...

    def ticket(self) -> int:
        """Take a ticket before asking, to be shown when the answer is remembered."""
        ...

    def remember(self, key: SessionKey, session: Session, ticket: int) -> bool:
        """Keep the answer, unless an event overtook it since `ticket`: then it is dropped, and False returned."""
        ...

    def overtaken(self, key: SessionKey, ticket: int) -> bool:
        """Whether an event since `ticket` may have changed what was decided about the session."""
        ...


class SessionEvents(Protocol):
    """Whoever wants to hear what the session service tells of its own accord. No method waits or raises.

    Events name a session by its id alone, whatever scopes ids where it is cached.
    """

    def ended(self, session_id: str) -> None:
        """The session was ended."""
        ...

    def deleted(self, session_id: str) -> None:
        """The session was deleted, for good."""
        ...

    def forget_all(self) -> None:
        """Anything may have happened: nothing learnt so far is to be believed."""
        ...

    def stream_up(self) -> None:
        """Everything that happened was told, and what happens from now on will be."""
        ...

    def alive(self, told_until: float) -> None:
        """The stream, which is up, gave a sign of life: what happened until then was told.

        `told_until` is in seconds of the clock that both sides share.
        """
        ...

    def stream_down(self) -> None:
        """Things may happen from now on without being told; repeating it changes nothing."""
        ...


class DebtNotWritten(Exception):
    """The journal of debts could not be written or read; the message is one sentence."""


class Debts(Protocol):
    """The journal of sessions owed to the session service, and who owes them."""

    async def owe(self, reference: Reference) -> Owed | Conflict | Gone:
        """Write down that the session has to be created; durable before it returns, and safe to repeat.

        `Owed` names the session's first claimant, who may be another user. `Conflict` and `Gone`: an earlier debt of
        this user's could not be paid for that reason, which still holds, and nothing is written. Raises DebtNotWritten.
        """
        ...

    def claimant(self, key: SessionKey) -> Owed | Unknown | None:
        """Say to whom the session belongs while a debt for it is unpaid; Unknown where that cannot be read.

        Answers at once.
        """
        ...

    def any_owed(self) -> bool:
        """Whether any debt is due, those set aside left out. Answers at once."""
        ...

    async def due(self, limit: int, *, set_aside: bool = False) -> Sequence[Reference]:
        """Give at most `limit` unpaid debts, oldest first. Raises DebtNotWritten.

        With `set_aside`, give those that were set aside, the least often tried first.
        """
        ...

    async def set_aside(self, reference: Reference, why: str) -> None:
        """Keep a debt that fails for a reason of its own apart, so that it holds up no other. Raises DebtNotWritten."""
        ...

    async def settle(self, reference: Reference, answer: Found | Created | Conflict | Gone) -> None:
        """Strike a debt off: paid, or never to be paid because the session is another's or gone (kept as a conflict).

        Raises DebtNotWritten.
        """
        ...


class PermitLapsed(Exception):
    """What was admitted may no longer go, because of what became known while it waited to be sent."""


class Forwarder(Protocol):
    """Hands a request on to the memory service and its answer back, byte for byte."""

    async def forward(
        self, admit: Permit, scope: Scope, receive: Receive, send: Send, still_valid: StillValid | None = None
    ) -> None:
        """Forward one request. The `admit` is the proof that somebody decided it may go.

        If the request has to wait for a connection, `still_valid` is asked when there is one whether it may still go;
        raises PermitLapsed where not, and then nothing was received or sent. Raises UpstreamError while no byte of the
        answer was sent on; later failures break the connection, so that a cut answer never looks complete.
        """
        ...


class WireHead(Protocol):
    """What the wire said of a request before its body."""

    method: str
    target: bytes
    """The request target byte for byte."""
    headers: Headers
    """The fields as they came, names in the sender's case."""
    version: str
    """`1.0` or `1.1`."""
    peer: str | None
    """The client's IP address; None on a Unix socket."""
    has_host: bool
    has_body: bool
    chunked: bool
    upgrade: bool
    """The request asks for an upgrade and may have it: a bodyless HTTP/1.1 GET, for something other than h2c."""
    notes: dict[object, Any]
    """What others found out about this head, each under itself, for as long as the connection repeats its bytes."""


class Wire(WireHead, Protocol):
    """What the wire said and ASGI cannot: the server puts it into `scope["extensions"][WIRE]` for the forwarder.

    An `http.response.start` message may carry three keys more than ASGI's own: `reason` (bytes, the phrase after the
    status), `framing` (what the fields say of it, where that is known) and `body_follows` (true if a body message comes
    at once, so that both can leave in one write). Field names are written in the case they are given. An answer with
    neither `Content-Length` nor `Transfer-Encoding` is chunked, unless it says `Connection: close`: then it ends with
    the connection.
    """

    arrived: float
    """When the head was complete, or the whole body where that has come since (`time.monotonic`)."""
    body_arrived: bool
    """Some of the body, or its end, is there: the first `receive` will not wait."""

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called, once and at once, when the client goes away before its answer is complete."""
        ...

    def yield_continue(self) -> bool:
        """Leave `100 Continue` to the upstream; says whether the client is still waiting for one."""
        ...

    def inform(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send an interim answer (1xx, but not 101) on, to clients that know what it is (HTTP/1.1)."""
        ...

    def break_off(self) -> None:
        """Break the connection so that the answer begun cannot look complete."""
        ...

    async def tunnel(self, reason: bytes, headers: Headers, upstream: asyncio.Transport, first: bytes) -> None:
        """Answer 101, then pass bytes both ways untouched, `first` before all others; returns when it is over."""
        ...


WIRE: Final = "sidecar.wire"


class UpstreamExchange(Protocol):
    """A connection to the upstream that carries one request there and its answer to a `ResponseReceiver`."""

    def start(self, receiver: ResponseReceiver, data: bytes, *, method: str, complete: bool) -> None:
        """Write the head of a request, and its body if `complete`."""
        ...

    def pause_reading(self) -> None:
        """Hold the upstream back."""
        ...

    def resume_reading(self) -> None:
        """Go on."""
        ...

    def abort(self) -> None:
        """Give the exchange up: the receiver hears no more, and the connection is closed."""
        ...


class ResponseReceiver(Protocol):
    """Gets one answer by plain calls, none of which may raise.

    After `whole`, `end`, `upgraded` or `failed` there are no more.
    """

    def interim(self, head: ResponseHead) -> None:
        """A 1xx answer came; the real one is still to come."""
        ...

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """A whole answer of declared length came at once; there is no `head`, `body` or `end`."""
        ...

    def head(self, head: ResponseHead) -> None:
        """The status line and header fields came."""
        ...

    def body(self, data: bytes) -> None:
        """A piece of the body came."""
        ...

    def flush(self) -> None:
        """All that one read brought has been told."""
        ...

    def end(self) -> None:
        """The answer is complete."""
        ...

    def upgraded(self, head: ResponseHead, transport: asyncio.Transport, first: bytes) -> None:
        """The upstream switched protocols: the connection and the bytes after the head are the receiver's now."""
        ...

    def failed(self, failure: Exception) -> None:
        """There will be no answer, or no more of it."""
        ...


class FastForwarder(Protocol):
    """What the fast lane needs of a forwarder: a connection that is free now, and no waiting."""

    def take(self) -> UpstreamExchange | None:
        """Give a free connection, if there is one."""
        ...

    def put_back(self, line: UpstreamExchange) -> None:
        """Give back a connection that was not needed after all."""
        ...

    def request_head(self, wire: WireHead) -> bytes:
        """Write the head of a request as the upstream is to get it."""
        ...

    def send(
        self,
        admit: Permit,
        line: UpstreamExchange,
        request: bytes,
        receiver: ResponseReceiver,
        arrived: float,
        /,
        *,
        method: str,
    ) -> None:
        """Send a whole request that was here at `arrived`, never a second time; the answer goes to `receiver`.

        `request` begins with a head that `request_head` wrote for `method`, and asks for no upgrade.
        """
        ...

    def is_stale(self, failure: Exception) -> bool:
        """Whether a request failed before any byte of its answer, on a connection used before."""
        ...

    async def connect(self) -> UpstreamExchange:
        """Open a new connection, or wait until one may be opened. Raises UpstreamError."""
        ...

    def answer_head(self, head: ResponseHead, admit: Permit) -> ForwardedHead:
        """Give what the client may see of the head of an answer; the same object as long as both are the same."""
        ...

    def interim_fields(self, head: ResponseHead) -> Headers:
        """Give what the client may see of the fields of a 1xx answer."""
        ...

    def explain(self, failure: Exception) -> UpstreamError:
        """Say what a failure that a receiver was told means."""
        ...


class UpstreamError(Exception):
    """The memory service gave no answer; `reason` is one of `upstream_*`, `overloaded` or `body_timeout`."""

    def __init__(self, reason: Reason, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after


class Telemetry(Protocol):
    """Takes note of what happened; never fails and never waits."""

    def decided(
        self,
        decision: str,
        reason: Reason | None = None,
        reference: Reference | None = None,
        detail: str | None = None,
    ) -> None:
        """One request, or one call of a batch, was decided: `known`, `created`, `refused`, and so on."""
        ...

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The memory service gave no answer to the current request, or broke it off."""
        ...

    def session_answer(self, reference: Reference, answer: str, address: str) -> None:
        """The session service at `address` answered a question about the session: a status, or why there was none."""
        ...

    def session_call(self, operation: str, outcome: str, seconds: float) -> None:
        """The session service was asked once (`look`, `ensure`, …) and answered, or failed, after `seconds`."""
        ...

    def breaker(self, *, is_open: bool) -> None:
        """The circuit breaker before the session service opened or closed."""
        ...

    def events_connected(self, *, connected: bool) -> None:
        """The session event stream came up or was lost."""
        ...

    def debt_conflict(self, reference: Reference, outcome: str) -> None:
        """A session owed to the session service could not be paid: somebody else owns it, or it was deleted."""
        ...

    def shadow_dropped(self) -> None:
        """Shadow mode had no room left to decide a request on the side."""
        ...

    def upstream(self, seconds: float) -> None:
        """The memory service gave its first response byte after `seconds`."""
        ...

    def overhead(self, seconds: float) -> None:
        """This program itself spent `seconds` on a request, the waiting for the memory service left out."""
        ...
