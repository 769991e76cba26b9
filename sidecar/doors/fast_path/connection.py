"""The fast path of a client connection: what can be decided from what is here and known is forwarded without a task.

It changes speed and nothing else: it decides and forwards by the same rules as the application.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.refusal import Response, identified
from sidecar.guard.permit import Permit
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.proxied_response import ProxiedResponse
from sidecar.http.client.response import IDEMPOTENT, UpstreamError
from sidecar.http.framing import ForwardedHead, read_framing
from sidecar.http.ports import ResponseClient
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.request_head import RequestHead
from sidecar.http.server.serving import Shared
from sidecar.model import Extraction
from sidecar.request_context import on_behalf_of

MAX_UNCOUNTED: Final = 64 * 1024
"""Most bytes of a body that are decided at once without a place among the bodies that are held."""

# The ways of a request, as its head says. 0 stands for a head that was not seen yet.
_APPLICATION: Final = 1
_UNGUARDED: Final = 2
_GUARDED: Final = 3

_NEVER: Final = frozenset({b"expect", b"upgrade"})

logger = logging.getLogger(__name__)


class ForwardingConnection(HardenedProtocol, ResponseClient):
    """Decides requests that are here, forwards those that get a permit, and takes their responses."""

    __slots__ = ("_classify", "_extraction", "_guard", "_limit", "_unguarded", "unanswered", "upstream")

    def __init__(self, shared: Shared, path: FastPath) -> None:
        super().__init__(shared)
        self.upstream = path.upstream
        self.unanswered = path.unanswered
        self._classify = path.classify
        self._guard = path.guard
        self._unguarded = path.unguarded
        self._limit = MAX_UNCOUNTED if path.authorize is None else path.budget.limit
        self._extraction: Extraction | None = None

    def _begin(self, head: RequestHead) -> None:
        """Serve a request: at once if it is here, known, and a connection is free; otherwise in a slower way."""
        way = head.way or self._choose_way(head)
        length = head.length
        if way == _APPLICATION or (way == _GUARDED and length > self._limit):
            self._begin_application(head)
        elif head.chunked or length > len(self._buffer) or (way == _GUARDED and length > MAX_UNCOUNTED):
            self._begin_incomplete(head, holds=way == _GUARDED or 0 < length <= MAX_UNCOUNTED)
        else:
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            self.serve(head, body)

    def _choose_way(self, head: RequestHead) -> int:
        """Choose the way of a request, once for all requests that repeat its head."""
        head.way = _APPLICATION
        if takes_fast_path(head):
            try:
                classification = head.classify(self._classify)
            except Exception:
                logger.exception("the fast path could not classify a request")
                return _APPLICATION
            if classification is None:
                head.way = _UNGUARDED
            elif (
                # The application does all that a rule wants beside a look at the body.
                head.length and classification.needs_body and classification.after is None
            ) and b"content-encoding" not in head.fields:
                head.way = _GUARDED
        return head.way

    def serve(self, head: RequestHead, body: bytes) -> None:
        """Forward a whole request, if the guard permits it at once and a connection is free."""
        # A client that does not read its answers is made to wait by the application; the fast path never waits.
        line = None if self.write_paused else self.upstream.pool.take()
        if line is None:
            self.give_way(head, body, None)
            return
        arrived = monotonic()
        permit = self._permit(head, body)
        if permit is None:
            self.upstream.pool.release(line)
            self.ask(head, body, self._extraction, arrived)
        else:
            self.send(head, permit, line, body, arrived)

    def _permit(self, head: RequestHead, body: bytes) -> Permit | None:
        """Read the body, where a rule looks at it, and decide what needs no question; None also where that failed."""
        # Not where `_extraction` is used again: mypy, and so mypyc, would hold it to be None there.
        self._extraction = None
        try:
            classification = head.classification
            if classification is None:
                permit = self._guard.pass_through()
                self.look(head, body)
                return permit
            extraction = self._extraction = classification.extract(body)
            return self._guard.permit_known(extraction)
        except Exception:
            logger.exception("the fast path could not decide a request")
            return None

    def send(self, head: RequestHead, permit: Permit, line: UpstreamConnection, body: bytes, arrived: float) -> None:
        """Send a whole request, which had arrived at `arrived`."""
        response = ProxiedResponse(self.upstream, self, permit, head.method)
        self._served = response
        self._line = line
        if self.write_paused:
            line.hold_reading()
        written = head.upstream_head or self.upstream.request_head(head, self.peer)
        response.send(line, written, arrived, complete=True, body=body)

    def look(self, head: RequestHead, piece: bytes) -> None:
        """Look for a name that the profile watches; a failure of that does not hold the request up."""
        if self._unguarded is not None:
            try:
                self._unguarded.look(head, piece)
            except Exception:
                logger.exception("the fast path could not look at an unguarded request")

    def fail(self, failure: UpstreamError) -> None:
        """Answer in the upstream's place, or break the answer off that it had begun."""
        head = self._head
        assert head is not None  # noqa: S101 # for the type checker: a request is being served
        with on_behalf_of(head):
            self.upstream.note(failure)
            if self.has_begun:
                self.break_off()
                return
            self.respond(self.unanswered(self._extraction, failure))

    def respond(self, response: Response) -> None:
        """Answer in the upstream's place, with the id of the current request."""
        response = identified(response)
        self.begin(ForwardedHead(response.status, None, response.headers, read_framing(response.headers)))
        self.piece(response.body)
        self.end()

    # Requests that are not forwarded at once

    def _begin_incomplete(self, head: RequestHead, *, holds: bool) -> None:
        """Begin a request whose body is still coming, or large: hold it, or stream it where no rule looks at it."""
        raise NotImplementedError

    def ask(self, head: RequestHead, body: bytes, extraction: Extraction | None, arrived: float) -> None:
        """Have the guard decide a whole request with a question to the session service; an unread one gives way."""
        raise NotImplementedError

    def give_way(self, head: RequestHead, body: bytes, extraction: Extraction | None) -> None:
        """Leave a request to the application, with what is here of its body and what was learnt of it."""
        raise NotImplementedError

    def wait_for_more(self) -> None:
        """Begin anew to wait for a piece of a body that is held."""
        raise NotImplementedError


def takes_fast_path(head: RequestHead) -> bool:
    """Whether the fast path may try the request: it asks for nothing but its answer.

    A chunked request that may be repeated is the application's, which can.
    """
    return (
        head.version == "1.1"
        and head.target[:1] == b"/"
        and not head.upgrade
        and not (head.has_body and _NEVER.intersection(head.fields))
        and not (head.chunked and head.method in IDEMPOTENT)
    )
