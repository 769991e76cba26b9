"""A client connection on the fast path: how requests are sent for it, and answered where the upstream does not."""

from __future__ import annotations

from sidecar.doors.fast_path.parts import FastPath
from sidecar.doors.refusal import Response, identified
from sidecar.guard.permit import Permit
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.proxied_response import ProxiedResponse
from sidecar.http.framing import ForwardedHead, read_framing
from sidecar.http.ports import ResponseClient
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.request_head import RequestHead
from sidecar.http.server.serving import Shared
from sidecar.model import Extraction
from sidecar.request_context import on_behalf_of


class ForwardingConnection(HardenedProtocol, ResponseClient):
    """Forwards requests that hold a permit, and takes their responses."""

    __slots__ = ("_extraction", "unanswered", "upstream")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        path: FastPath = shared.fast_path
        self.upstream = path.upstream
        self.unanswered = path.unanswered
        self._extraction: Extraction | None = None

    def send(
        self,
        head: RequestHead,
        permit: Permit,
        line: UpstreamConnection,
        written: bytes,
        body: bytes,
        *,
        arrived: float,
        extraction: Extraction | None,
    ) -> None:
        """Send a whole request on its way; `written` is its head as the upstream gets it."""
        self._extraction = extraction
        response = ProxiedResponse(self.upstream, self, permit, head.method)
        self._serve(head, response)
        self._line = line
        if self.write_paused:
            line.pause_reading()
        response.send(line, written, arrived, complete=True, body=body)

    def fail(self, failure: Exception) -> None:
        """Answer in the upstream's place, or break the answer off that it had begun."""
        head = self._head
        assert head is not None  # noqa: S101 # for the type checker: a request is being served
        with on_behalf_of(head.method, head.target, head.raw_headers):
            error = self.upstream.explain(failure)
            if self.has_begun:
                self.break_off()
                return
            self.respond(self.unanswered(self._extraction, error))

    def respond(self, response: Response) -> None:
        """Answer in the upstream's place, with the id of the current request."""
        response = identified(response)
        self.begin(ForwardedHead(response.status, None, response.headers, read_framing(response.headers)))
        self.piece(response.body)
        self.end()

    # What a body tells that is held

    def collected(self) -> None:
        """The body is whole: go on."""
        raise NotImplementedError

    def give_up(self, extraction: Extraction | None = None) -> None:
        """Leave the request to the application, with what is here of its body and what was learnt of it."""
        raise NotImplementedError

    def wait_for_more(self) -> None:
        """Begin anew to wait for a piece of the body."""
        raise NotImplementedError
