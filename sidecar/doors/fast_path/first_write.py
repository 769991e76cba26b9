"""A request on the fast path whose session is not known yet: the guard asks, and the exchange begins with its permit.

The body is here already, so that only the question and the wait for an upstream connection need a task.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.doors.fast_path.connection import ForwardingConnection
from sidecar.doors.refusal import Response, refuse_extraction
from sidecar.guard.permit import Permit
from sidecar.http.client.response import UpstreamError
from sidecar.http.ports import Served
from sidecar.http.server.request_head import RequestHead
from sidecar.model import Extraction, Refusals
from sidecar.request_context import enter_request

_FAILED: Final = Response(
    500,
    ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")),
    b"Internal Server Error",
)

logger = logging.getLogger(__name__)


class FirstWrite(Served):
    """One request while the guard decides it. It serves the client connection until it is answered or sent."""

    def __init__(
        self,
        client: ForwardingConnection,
        head: RequestHead,
        body: bytes,
        extraction: Extraction,
        authorize: Callable[[Extraction, int], Awaitable[Permit | Refusals]],
    ) -> None:
        self._client = client
        self._head = head
        self._body = body
        self._extraction = extraction
        self._authorize = authorize
        self._is_gone = False

    def lose_client(self) -> None:
        """Send nothing and release the body: no client waits for the response. The question under way goes on."""
        self._is_gone = True
        self._body = b""

    async def run(self, arrived: float) -> None:
        """Have the request, which had arrived at `arrived`, decided; then send or refuse it."""
        enter_request(self._head)
        try:
            answer = await self._decide(arrived)
        except UpstreamError as failure:
            self._client.upstream.note(failure)
            answer = self._client.unanswered(self._extraction, failure)
        except Exception:
            logger.exception("the fast path could not decide a request")
            answer = _FAILED
        if answer is not None and not self._is_gone:
            self._client.respond(answer)

    async def _decide(self, arrived: float) -> Response | None:
        """Send the request, or give the answer in its place. Raises UpstreamError where no connection came free.

        A permit that lapses before it is used is asked for again.
        """
        upstream = self._client.upstream
        lapses = 0
        while isinstance(decided := await self._authorize(self._extraction, lapses), Permit):
            line = upstream.pool.take()
            if line is None:
                line = await upstream.pool.acquire()
                if not decided.still_valid():
                    upstream.pool.release(line)
                    lapses += 1
                    continue
            if self._is_gone:
                upstream.pool.release(line)
                return None
            self._client.send(self._head, decided, line, self._body, arrived)
            return None
        return refuse_extraction(self._extraction, decided.refusals)
