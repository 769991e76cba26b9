"""Every error of the service in one shape, `{"detail": …, "reason": …}`, the framework's own included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service_kit.database import DatabaseUnavailable

_RETRY_AFTER: Final = "1"

STATUS: Final[Mapping[str, int]] = {
    "session_owned_by_another_user": 403,
    "session_not_found": 404,
    "session_exists": 409,
    "session_gone": 410,
    "database_unavailable": 503,
}


class Refused(Exception):
    """A call that cannot be done, for a reason of its own; `status` only where the reason has another one here."""

    def __init__(self, reason: str, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.status = status or STATUS[reason]


def problem(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """One error as a response."""
    return JSONResponse({"detail": detail, "reason": reason}, status, headers)


def install(app: FastAPI) -> None:
    """Have the application answer all errors in that shape."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(DatabaseUnavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 -- it is registered for nothing else
    return problem(error.status, error.reason, error.detail)


async def _unavailable(_request: Request, _error: Exception) -> JSONResponse:
    detail = "The database does not answer; try again in a moment."
    return problem(503, "database_unavailable", detail, {"Retry-After": _RETRY_AFTER})


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- it is registered for nothing else
    found = error.errors()
    return problem(422, _reason(found), "; ".join(_sentence(one) for one in found))


async def _plain(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 -- it is registered for nothing else
    reasons = {400: "unreadable_body", 404: "no_such_route", 413: "body_too_large"}
    reason = reasons.get(error.status_code) or HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, reason, error.detail, error.headers)


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return problem(500, "internal_error", "Something went wrong here; the log says what.")


def _reason(found: Sequence[Mapping[str, Any]]) -> str:
    """The reason of the first error about an id, if there is one: that is what programs act upon."""
    for one in found:
        field = one["loc"][-1]
        if field == "user_id" and (one["type"] == "missing" or one["input"] is None):
            return "user_id_required"
        if field in {"session_id", "user_id"}:
            return f"invalid_{field}"
    return "invalid_request"


def _sentence(one: Mapping[str, Any]) -> str:
    if one["type"] == "json_invalid":
        return f"the body is not JSON: {one['ctx']['error']} at {one['loc'][-1]}"
    where = ".".join(str(part) for part in one["loc"][1:])
    what = str(one["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else f"the {one['loc'][0]}: {what}"
