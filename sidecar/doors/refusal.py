"""A refusal as its client can read it: REST, JSON-RPC or a batch. The guard's status codes stand here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from sidecar.model import NOTIFICATION, Call, Extraction, Headers, Reason, Refusal, RefusalFormat
from sidecar.request_context import REQUEST_ID, current_request

RPC_REFUSED: Final = -31040
"""JSON-RPC error code of a refusal: outside the ranges that JSON-RPC 2.0 (section 5.1) and MCP reserve."""

RPC_PARSE_ERROR: Final = -32700
"""JSON-RPC 2.0, section 5.1: invalid JSON was received."""

STATUS: Final[dict[Reason, int]] = {
    Reason.SESSION_OWNED_BY_ANOTHER_USER: 403,
    Reason.SESSION_NOT_FOUND: 404,
    Reason.SESSION_GONE: 410,
    Reason.SESSION_ENDED: 409,
    Reason.SESSION_SERVICE_UNAVAILABLE: 503,
    Reason.SESSION_SERVICE_UNTRUSTWORTHY: 502,
    Reason.USER_ID_REQUIRED: 422,
    Reason.SESSION_ID_REQUIRED: 422,
    Reason.INVALID_SESSION_ID: 422,
    Reason.INVALID_USER_ID: 422,
    Reason.AMBIGUOUS_SESSION: 400,
    Reason.AMBIGUOUS_PATH: 400,
    Reason.UNREADABLE_BODY: 400,
    Reason.BATCH_REFUSED: 400,
    Reason.UNSUPPORTED_ENCODING: 415,
    Reason.BODY_TOO_LARGE: 413,
    Reason.BODY_TIMEOUT: 408,
    Reason.OVERLOADED: 503,
    Reason.UPSTREAM_UNAVAILABLE: 502,
    Reason.UPSTREAM_TIMEOUT: 504,
}

BATCH_REFUSED: Final = Refusal(Reason.BATCH_REFUSED, "Another call of the same batch was refused.")


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer, ready for any server."""

    status: int
    headers: Headers
    body: bytes


def identified(response: Response) -> Response:
    """Name the current request's id in the response, so that a client can name it to an operator."""
    request = current_request()
    if request is None:
        return response
    return replace(response, headers=(*response.headers, (REQUEST_ID, request.id.encode("ascii"))))


def refuse_request(refusal_format: RefusalFormat, refusal: Refusal) -> Response:
    """Refuse a request whose body was not read: the id of its call, if it is one, is not known."""
    return _rest(refusal) if refusal_format is RefusalFormat.REST else _rpc_without_id(refusal)


def refuse_extraction(extraction: Extraction, refusals: Sequence[Refusal | None]) -> Response:
    """Refuse a request whose calls are known. `refusals` has one place for each call; a batch is refused as a whole."""
    first = next(refusal for refusal in refusals if refusal is not None)
    if extraction.refusal_format is RefusalFormat.REST:
        return _rest(first)
    if extraction.refusal_format is RefusalFormat.RPC:
        return _rpc(extraction.calls[0], first)
    return _batch(extraction.calls, refusals, first)


def _rest(refusal: Refusal) -> Response:
    body = {"detail": refusal.detail, "reason": refusal.reason.value, "session_id": refusal.session_id}
    return _response(STATUS[refusal.reason], body, refusal)


def _rpc(call: Call, refusal: Refusal) -> Response:
    if call.rpc_id is NOTIFICATION:
        return _accepted(refusal)
    if call.rpc_id is None:
        return _rpc_without_id(refusal)
    return _response(200, _rpc_error(call, refusal), refusal)


def _rpc_without_id(refusal: Refusal) -> Response:
    return _response(STATUS[refusal.reason], _rpc_error(Call(), refusal), refusal)


def _batch(calls: Sequence[Call], refusals: Sequence[Refusal | None], first: Refusal) -> Response:
    answers = [
        _rpc_error(call, refusal or BATCH_REFUSED)
        for call, refusal in zip(calls, refusals, strict=True)
        if call.rpc_id is not NOTIFICATION
    ]
    return _response(200, answers, first) if answers else _accepted(first)


def _rpc_error(call: Call, refusal: Refusal) -> dict[str, object]:
    data: dict[str, object] = {
        "detail": refusal.detail,
        "reason": refusal.reason.value,
        "session_id": refusal.session_id,
    }
    if refusal.retry_after is not None:
        data["retry_after"] = refusal.retry_after
    # Where the id could be read, the message was JSON, and what is unreadable is a text within it.
    is_no_json = refusal.reason is Reason.UNREADABLE_BODY and call.rpc_id is None
    code = RPC_PARSE_ERROR if is_no_json else RPC_REFUSED
    return {"jsonrpc": "2.0", "id": call.rpc_id, "error": {"code": code, "message": refusal.detail, "data": data}}


def _accepted(refusal: Refusal) -> Response:
    """A notification expects no answer; streamable HTTP wants 202 without a body for it."""
    return Response(202, ((b"content-length", b"0"), _reason(refusal)), b"")


def _response(status: int, content: object, refusal: Refusal) -> Response:
    body = orjson.dumps(content)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        _reason(refusal),
    ]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    return Response(status, headers, body)


def _reason(refusal: Refusal) -> tuple[bytes, bytes]:
    return b"x-sidecar-reason", refusal.reason.value.encode()
