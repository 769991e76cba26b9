"""Every error of a service is an RFC 9457 problem with a `reason`, those of the web framework included.

`detail` is a sentence for a person, `reason` a code for programs. No value that a client sent is repeated to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPMethod, HTTPStatus
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service_kit.sql.database import DatabaseUnavailable
from service_kit.web.telemetry import REQUEST_ID

PROBLEM_JSON: Final = "application/problem+json"
_NO_TYPE: Final = "about:blank"
RETRY_AFTER: Final = {"Retry-After": "1"}
"""Beside `unavailable`."""
_REASONS: Final = {400: "unreadable_body", 404: "no_such_route", 413: "body_too_large"}


class Explanation(BaseModel):
    """What went wrong, without HTTP around it."""

    detail: str
    reason: str


class Problem(Explanation):
    """An error over HTTP (RFC 9457, section 3.1). `reason` is a member of this project's own."""

    type: str = _NO_TYPE
    title: str
    status: int


class Refused(Exception):
    """A call that cannot be done. Raised by services, shown with its status."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail


class ProblemResponse(JSONResponse):
    """A refusal as a response."""

    media_type = PROBLEM_JSON

    def __init__(self, refused: Refused, headers: Mapping[str, str] | None = None) -> None:
        detail = refused.detail.encode(errors="replace").decode()  # the name of an unknown field may be anything
        problem = {
            "type": _NO_TYPE,
            "title": HTTPStatus(refused.status).phrase,
            "status": refused.status,
            "detail": detail,
            "reason": refused.reason,
        }
        super().__init__(problem, refused.status, headers)


def invalid(error: RequestValidationError | ValidationError) -> Refused:
    """What a client is told of input that breaks its model, whichever door it came in by."""
    found = cast("Sequence[Mapping[str, Any]]", error.errors())
    return Refused(422, _reason(found), "; ".join(_sentence(one) for one in found))


def unavailable() -> Refused:
    """What a client is told while the database does not answer."""
    return Refused(503, "database_unavailable", "the database does not answer; try again in a moment")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a call, or of all calls of a router, for its OpenAPI description."""
    return {status: {"model": Problem} for status in statuses}


def install(app: FastAPI) -> None:
    """Have the application answer all errors in that shape, and its OpenAPI description say so."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(DatabaseUnavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _unexpected)
    describe = app.openapi

    def described() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        schema = describe()
        if fresh:
            _name_the_media_type(schema)
        return schema

    setattr(app, "openapi", described)  # noqa: B010 -- FastAPI's documented way to change its description


def _name_the_media_type(schema: Mapping[str, Any]) -> None:
    """FastAPI describes the model of an error under the media type of the route's successes."""
    for path in schema["paths"].values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema", {}).get("$ref", "").endswith("/Problem"):
                    content[PROBLEM_JSON] = content.pop("application/json")


async def _refused(_request: Request, error: Exception) -> ProblemResponse:
    return ProblemResponse(cast("Refused", error))


async def _unavailable(_request: Request, _error: Exception) -> ProblemResponse:
    return ProblemResponse(unavailable(), RETRY_AFTER)


async def _invalid(_request: Request, error: Exception) -> ProblemResponse:
    validation = cast("RequestValidationError", error)
    found = validation.errors()
    if found and found[0]["type"] == "json_invalid":
        return ProblemResponse(Refused(400, "unreadable_body", f"the body is not JSON: {found[0]['ctx']['error']}"))
    return ProblemResponse(invalid(validation))


async def _plain(request: Request, error: Exception) -> ProblemResponse:
    plain = cast("HTTPException", error)
    named = HTTPStatus(plain.status_code).phrase.lower().replace(" ", "_")
    refused = Refused(plain.status_code, _REASONS.get(plain.status_code, named), plain.detail)
    headers = plain.headers
    if plain.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed(request)):
        headers = {"Allow": ", ".join(allowed)}
    return ProblemResponse(refused, headers)


def _allowed(request: Request) -> list[str]:
    """Every method of the target resource (RFC 9110, section 15.5.6): the framework names those of one route.

    Empty within a mounted application, which has routes of its own.
    """
    scope, routes = request.scope, request.app.routes
    return [
        method
        for method in HTTPMethod
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _unexpected(request: Request, _error: Exception) -> ProblemResponse:
    """Starlette answers these outside all middleware, so the request's id is named here too."""
    request_id = request.scope.get(REQUEST_ID)
    headers = {} if request_id is None else {REQUEST_ID: request_id}
    return ProblemResponse(Refused(500, "internal_error", "something went wrong here; the log says what"), headers)


def _reason(found: Sequence[Mapping[str, Any]]) -> str:
    """The reason of the first error about an id, if there is one: that is what programs act upon."""
    for one in found:
        field = one["loc"][-1] if one["loc"] else None
        if one["type"] == "extra_forbidden":
            continue
        if field == "user_id" and (one["type"] == "missing" or one["input"] is None):
            return "user_id_required"
        if field in {"session_id", "user_id"}:
            return f"invalid_{field}"
        if one["type"] == "invalid_session_id":
            return "invalid_session_id"
    return "invalid_request"


def _sentence(one: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in one["loc"] if part not in {"body", "query", "path"})
    what = "unknown" if one["type"] == "extra_forbidden" else str(one["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
