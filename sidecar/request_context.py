"""The request being served, for log lines and calls that are made on its behalf.

Its id is the client's `X-Request-ID`, else the trace id of its `traceparent` (W3C Trace Context, section 3.2), else a
new one.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from sidecar.model import Head, Headers, Reason

REQUEST_ID: Final = b"x-request-id"

_TRACE_HEADERS: Final = frozenset({b"traceparent", b"tracestate"})
_USABLE_ID: Final = re.compile(rb"[\x21-\x7e]{1,200}")
# Version ff and ids of zeros are invalid, and an invalid field is to be ignored.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


class RequestContext:
    """One request: its head as it came, what was decided about it, and how the upstream failed it, if it did.

    Header names are compared without regard to letter case. The id is found out when it is first asked for.
    """

    __slots__ = ("_id", "decision", "failure", "headers", "method", "reason", "target", "trace")

    def __init__(self, head: Head) -> None:
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self.decision: str | None = None
        self.reason: Reason | None = None
        self.failure: Reason | None = None
        self.trace: list[tuple[bytes, bytes]] | None = None
        """The fields of the span under which calls are made, where there are spans."""
        self._id: str | None = None

    @property
    def id(self) -> str:
        """The id under which the request is logged."""
        if self._id is None:
            self._id = _given_id(self.headers) or uuid.uuid4().hex
        return self._id

    @property
    def path(self) -> str:
        """The request target without its query, which may hold secrets."""
        return self.target.partition(b"?")[0].decode("latin-1")

    def passed_on(self) -> list[tuple[bytes, bytes]]:
        """Give the header fields that tie a call made for this request to it."""
        traced = self.trace
        if traced is None:
            traced = [(name.lower(), value) for name, value in self.headers if name.lower() in _TRACE_HEADERS]
        return [(REQUEST_ID, self.id.encode("ascii")), *traced]


_current: ContextVar[RequestContext | None] = ContextVar("request", default=None)


current_request: Final = _current.get
"""Gives the request on whose behalf this code runs, if it runs for one."""


def enter_request(head: Head) -> RequestContext:
    """Begin a request in this task; what it starts inherits it. A request that was begun already goes on."""
    request = _current.get()
    if request is None or request.headers is not head.headers:
        request = RequestContext(head)
        _current.set(request)
    return request


@contextlib.contextmanager
def on_behalf_of(head: Head) -> Iterator[RequestContext]:
    """Act for a request outside of its task, as a callback of its connection does."""
    request = RequestContext(head)
    token = _current.set(request)
    try:
        yield request
    finally:
        _current.reset(token)


def _given_id(headers: Headers) -> str | None:
    traced = None
    for name, value in headers:
        match name.lower():
            case b"x-request-id" if _USABLE_ID.fullmatch(value):
                return value.decode("ascii")
            case b"traceparent" if found := _TRACEPARENT.fullmatch(value):
                traced = found[1].decode("ascii")
    return traced
