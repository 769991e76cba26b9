"""A stand-in for the isA platform's own session service: POST creates, PUT updates, DELETE only ends.

A create call for a session that is there answers 200 with that session, of any owner. Every call answers 404 while
`is_down` says that the database is down.
"""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_MISSING = {"detail": "Session not found"}


class PlatformSessions:
    """The sessions, the calls that were made (method and path), and the application that serves them."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.is_down = False
        one = "/api/v1/sessions/{session_id}"
        self.app = Starlette(
            routes=[
                Route("/api/v1/sessions", self._create, methods=["POST"]),
                Route(one, self._get, methods=["GET"]),
                Route(one, self._update, methods=["PUT"]),
                Route(one, self._end, methods=["DELETE"]),
            ]
        )

    async def _create(self, request: Request) -> JSONResponse:
        body = await request.json()
        session = self._note(request) and self.sessions.setdefault(
            body["session_id"],
            {"session_id": body["session_id"], "user_id": body["user_id"], "status": "active", "metadata": {}},
        )
        return JSONResponse(session) if session else _missing()

    async def _get(self, request: Request) -> JSONResponse:
        session = self._find(request)
        return JSONResponse(session) if session else _missing()

    async def _update(self, request: Request) -> JSONResponse:
        session = self._find(request)
        if session is None:
            return _missing()
        session["metadata"] = (await request.json()).get("metadata", {})
        return JSONResponse(session)

    async def _end(self, request: Request) -> JSONResponse:
        session = self._find(request)
        if session is None or request.query_params.get("user_id", session["user_id"]) != session["user_id"]:
            return _missing()
        session["status"] = "ended"
        return JSONResponse({"message": "Session ended"})

    def _find(self, request: Request) -> dict[str, Any] | None:
        return self.sessions.get(request.path_params["session_id"]) if self._note(request) else None

    def _note(self, request: Request) -> bool:
        """Keep the call; False while the database is down."""
        self.calls.append((request.method, request.url.path))
        return not self.is_down


def _missing() -> JSONResponse:
    return JSONResponse(_MISSING, 404)
