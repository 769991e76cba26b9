"""Heads of responses, how a repeated head is recognised, and the failures in place of a response."""

from __future__ import annotations

from typing import ClassVar, Final

from sidecar.http.framing import ResponseHead, read_framing
from sidecar.model import RETRY_AFTER, Reason

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods of requests that may be sent twice (RFC 9110, section 9.2.2)."""


_LATE: Final = (Reason.UPSTREAM_TIMEOUT, "The memory service did not answer in time.", None)


class ClientGone(Exception):
    """No client waits for the response any more."""


class UpstreamError(Exception):
    """The memory service gave no answer, or no whole one.

    `reason` (one of `upstream_*`, `overloaded` or `body_timeout`), `detail` and `retry_after`, in seconds, are for the
    client; the message says `why`, for the log.
    """

    def __init__(self, reason: Reason, detail: str, retry_after: int | None = None, why: str = "") -> None:
        super().__init__(why or detail)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after


class UpstreamFailure(UpstreamError):
    """What went wrong with a connection; each subclass says what."""

    refusal: ClassVar[tuple[Reason, str, int | None]] = (
        Reason.UPSTREAM_UNAVAILABLE,
        "The memory service could not be reached or gave no whole answer.",
        None,
    )
    """The answer to the client: the first arguments of `UpstreamError`."""

    def __init__(self, why: str) -> None:
        reason, detail, retry_after = self.refusal
        super().__init__(reason, detail, retry_after, why)


class ConnectFailed(UpstreamFailure):
    """The upstream could not be reached."""


class ConnectTimeout(UpstreamFailure):
    """The upstream took too long to accept the connection."""

    refusal = _LATE


class NoFreeConnection(UpstreamFailure):
    """All connections are taken, and so are the places to wait for one, or the wait was too long."""

    refusal = (Reason.OVERLOADED, "No connection to the memory service came free.", RETRY_AFTER)


class ConnectionLost(UpstreamFailure):
    """The upstream closed the connection. `stale` means before any byte of the answer, on a connection used before."""

    def __init__(self, why: str, *, stale: bool = False) -> None:
        super().__init__(why)
        self.stale = stale


class ResponseTimeout(UpstreamFailure):
    """The upstream did not begin its answer, or did not read the request, in time."""

    refusal = _LATE


class BadResponse(UpstreamFailure):
    """What the upstream sent is no HTTP/1.1 answer to this request."""


class ResponseTemplate:
    """The head of a whole response of declared length, to recognise the same bytes when they come again.

    `raw` are the head's bytes, `size` is how many the whole answer has.
    """

    def __init__(self, raw: bytes, head: ResponseHead, length: int) -> None:
        self.head = head
        self.raw = raw
        self.size = len(raw) + length


def read_head(
    status: int, reason: bytes, headers: list[tuple[bytes, bytes]], *, keep_alive: bool, bodiless: bool
) -> ResponseHead:
    """Say how the body ends. Raises BadResponse for a transfer coding that was not asked for."""
    framing = read_framing(headers)
    if framing.odd_coding:
        raise BadResponse("the upstream used a transfer coding other than chunked")
    bodiless = bodiless or status in (204, 304)
    until_close = not (keep_alive or framing.chunked or framing.length is not None or bodiless)
    # How the upstream's connection ends is not passed on, but for a response that ends with it.
    framing.close = framing.names_connection = until_close
    return ResponseHead(status, reason, headers, framing, until_close)


def may_repeat(method: str, failure: Exception) -> bool:
    """Whether a request that failed may be sent once more: it is idempotent, and its connection was stale."""
    return method in IDEMPOTENT and isinstance(failure, ConnectionLost) and failure.stale
