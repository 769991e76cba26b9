"""The authoriser: answers for other proxies whether a request that they hold may go on.

The first path segment names the asking proxy, and each asks in its own way: Envoy's HTTP `ext_authz` with `path_prefix:
/envoy`, nginx's `auth_request` at `/nginx`, Traefik's ForwardAuth and Caddy's `forward_auth` at `/forward`. A question
becomes the original request again, which the guard decides as the proxy would. 200 means admitted; every other status
means refused, and a question that cannot be read is refused too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.doors.asgi import PERMIT, respond
from sidecar.doors.refusal import STATUS, Response, refuse_request
from sidecar.extract.extractor import Classification, Extractor, NothingGuarded
from sidecar.guard.ports import Telemetry
from sidecar.http.client.response import ClientGone
from sidecar.http.ports import WIRE, Wire, WireHead
from sidecar.http.server.request_head import TOKEN
from sidecar.model import Extraction, Head, Headers, Reason, Refusal
from sidecar.request_context import enter_request

REFUSAL_HEADER: Final = b"x-sidecar-refusal"
"""Carries the body of a refusal to nginx, whose `auth_request` passes no body on."""

_ENVOY: Final = b"/envoy"
_PARTIAL: Final = b"x-envoy-auth-partial-body"
_METHOD: Final = re.compile(TOKEN + rb"+")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")
_UNSEEN_BODY: Final = "The ids of this request can stand in its body, and the proxy in front asked without the body."
_CUT_BODY: Final = "The proxy in front sent only the beginning of the request body."
_NOT_FOUND: Final = Response(404, ((b"content-type", b"text/plain"), (b"content-length", b"10")), b"not found\n")


class _BadQuestion(Exception):
    """The question does not say exactly once which request it is about."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: the head of the original request, and what the proxy says of its body.

    `length` is what the original's `Content-Length` is said to be: `0` where the proxy has seen that there is no body,
    None where it says nothing. `body_is_cut` says that the proxy sent only a part of it.
    """

    head: WireHead
    length: bytes | None = None
    body_is_cut: bool = False


class _OriginalWire(Wire):
    """What the doors ask of the wire of the original request. `has_body` says that the question carries its body."""

    def __init__(self, asked: Asked, *, has_body: bool) -> None:
        self.head = asked.head
        self.wants_messages = True
        self.extraction: Extraction | None = None
        self.asked = asked
        self.has_body = has_body


class Authorizer:
    """The ASGI application of the authoriser, for our own server.

    `guarding` wraps an application in the middleware of the guard's mode. `extractor` and `enforces` belong to that
    mode: only mode `enforce` refuses what a proxy keeps from the authoriser. `traced` wraps what decides the original
    request in a span, where there are spans.
    """

    def __init__(
        self,
        guarding: Callable[[ASGIApp], ASGIApp],
        *,
        extractor: Extractor | NothingGuarded,
        enforces: bool,
        telemetry: Telemetry,
        traced: Callable[[ASGIApp], ASGIApp],
    ) -> None:
        self._guarded = guarding(_admit)
        self._decided = traced(self._decide)
        self._extractor = extractor
        self._enforces = enforces
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire: Wire = scope[WIRE]
        question = wire.head
        # What was read of a question counts for all that repeat its head.
        asked: Asked | None = question.original
        if asked is None:
            try:
                asked = question.original = read_question(question)
            except _BadQuestion as bad:
                enter_request(question)
                await respond(scope, send, _bad_question(str(bad)))
                return
        if asked is None:
            enter_request(question)
            await respond(scope, send, _NOT_FOUND)
            return
        original = _original(scope, asked, has_body=question.has_body)
        enter_request(asked.head)
        path, _, _ = question.target.partition(b"?")
        await self._decided(original, receive, _RefusedSend(original, send, repeats_body=path == b"/nginx"))

    async def _decide(self, original: Scope, receive: Receive, send: Send) -> None:
        wire: _OriginalWire = original[WIRE]
        refusal = self._keeps_back(wire.asked, has_body=wire.has_body)
        if refusal is None:
            await self._guarded(original, receive, send)
        else:
            self._telemetry.decided("refused", refusal[1].reason, None, refusal[1].detail)
            await respond(original, send, refuse_request(refusal[0].refusal_format, refusal[1]))

    def _keeps_back(self, asked: Asked, *, has_body: bool) -> tuple[Classification, Refusal] | None:
        """Refuse what cannot be decided because the question has no body, or a part of it."""
        if not self._enforces or isinstance(self._extractor, NothingGuarded):
            return None
        classification = asked.head.classify(self._extractor.classify)
        # What a rule does with the answer needs the body, but no answer comes by here: such a request is permitted.
        if classification is None or classification.after is not None or not classification.needs_body:
            return None
        if asked.body_is_cut:
            return classification, Refusal(Reason.BODY_TOO_LARGE, _CUT_BODY)
        if has_body or asked.length == b"0":
            return None
        if asked.length is not None or not _says_something(classification.extract(b"")):
            return classification, Refusal(Reason.UNREADABLE_BODY, _UNSEEN_BODY)
        return None


def read_question(question: Head) -> Asked | None:
    """Give the request that a proxy asks about; None where the path is no proxy's.

    Raises an exception with one sentence where the question does not name the original request exactly once.
    """
    headers = question.headers
    path, _, _ = question.target.partition(b"?")
    if path.startswith(_ENVOY + b"/"):
        cut = _at_most_once(headers, _PARTIAL) not in (None, b"false")
        return Asked(WireHead(question.method, question.target.removeprefix(_ENVOY), headers), body_is_cut=cut)
    if path == b"/nginx":
        return _from_fields(headers, b"x-original-method", b"x-original-uri", b"x-original-content-length")
    if path == b"/forward":
        return _from_fields(headers, b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-content-length")
    return None


def _from_fields(headers: Headers, method_name: bytes, uri_name: bytes, length_name: bytes) -> Asked:
    method, uri = _once(headers, method_name, _METHOD), _once(headers, uri_name, _TARGET)
    return Asked(WireHead(method.decode("ascii"), uri, headers), _at_most_once(headers, length_name))


def _once(headers: Headers, name: bytes, grammar: re.Pattern[bytes]) -> bytes:
    value = _at_most_once(headers, name)
    if value is None or not grammar.fullmatch(value):
        raise _BadQuestion(f"The question needs exactly one well-formed {name.decode()} field.")
    return value


def _at_most_once(headers: Headers, name: bytes) -> bytes | None:
    values = [value for each, value in headers if each == name]
    if len(values) > 1:
        raise _BadQuestion(f"The question has {len(values)} {name.decode()} fields, and one is allowed.")
    return values[0] if values else None


def _says_something(extraction: Extraction) -> bool:
    """Whether the head alone names a session or is refused already."""
    return any(call.reference is not None or call.refusal is not None for call in extraction.calls)


def _original(scope: Scope, asked: Asked, *, has_body: bool) -> Scope:
    """Give the scope of the original request."""
    head = asked.head
    return {
        "type": "http",
        "asgi": scope["asgi"],
        "http_version": scope["http_version"],
        "method": head.method,
        "headers": head.headers,
        "client": scope.get("client"),
        WIRE: _OriginalWire(asked, has_body=has_body),
    }


async def _admit(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 200 once the body is read: the next question may come on the same connection."""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class _RefusedSend:
    """Sends an answer so that the asking proxy reads a refusal as one.

    JSON-RPC refuses with 200 or 202, which would admit: the status is then the one that the reason has in REST.
    """

    def __init__(self, scope: Scope, send: Send, *, repeats_body: bool) -> None:
        self._scope = scope
        self._send = send
        self._repeats_body = repeats_body
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Send one message; the start of a refusal waits for its body."""
        if message["type"] == "http.response.start" and not (PERMIT in self._scope and message["status"] == 200):
            self._start = message
            return
        if self._start is not None:
            await self._send(self._refusal(self._start, message.get("body", b"")))
            self._start = None
        await self._send(message)

    def _refusal(self, start: Message, body: bytes) -> Message:
        status, fields = start["status"], list(start["headers"])
        if status < 300:
            reason = next(value for name, value in fields if name == b"x-sidecar-reason")
            status = STATUS[Reason(reason.decode("ascii"))]
        if self._repeats_body:
            fields.append((REFUSAL_HEADER, body))
        return {**start, "status": status, "headers": fields}


def _bad_question(detail: str) -> Response:
    body = f"{detail}\n".encode()
    fields = ((b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)))
    return Response(400, fields, body)
