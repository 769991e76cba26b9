"""A session service that can be made to do the harm that `probe` looks for, and the profile that describes it."""

from __future__ import annotations

import itertools
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PROFILE = """
name = "tried"
prefixes = ["/memories"]
owner = "required"

[[rules]]
kind = "ensure"
methods = ["POST"]
paths = ["/memories/{session_id}"]

[session_service]
style = "post"
id_field = "id"
owner_field = "user"

[session_service.look]
path = "/sessions/{session_id}"
query = { user = "{user_id}" }
statuses = { found = [200], absent = [404] }

[session_service.create]
path = "/sessions"
body = { id = "{session_id}", user = "{user_id}" }
statuses = { created = [201], taken = [409], perhaps = [500], invalid = [422] }
"""

WITH_VARIABLE = (
    PROFILE.replace('query = { user = "{user_id}" }', 'query = { user = "{user_id}", tenant = "t-{tenant}" }')
    + '\n[variables.tenant]\nheader = ["x-tenant"]\n'
)
"""The same with a variable that has no default and that a call cannot do without."""


class Service:
    """A session service that behaves, but for the habits named in `habits`. `field` is one that its sessions have."""

    def __init__(self, *habits: str, field: str = "created_at") -> None:
        self.habits = habits
        self._field = field
        self.sessions: dict[str, dict[str, Any]] = {}
        self.asked_for: set[str] = set()
        self._clock = itertools.count()
        methods = [
            Route("/sessions", self.create, methods=["POST"]),
            Route("/sessions/{id}", self.one, methods=["GET", "DELETE"]),
        ]
        self.app = Starlette(routes=methods)

    async def create(self, request: Request) -> Response:
        body = await request.json()
        self.asked_for.add(body["id"])
        if "wants-uuids" in self.habits and body["id"].startswith("probe-"):
            return JSONResponse({"error": "no UUID"}, 422)
        if "takes-no-metadata" in self.habits and "metadata" in body:
            return JSONResponse({"error": "unknown field"}, 422)
        key = f"minted-{next(self._clock)}" if "mints" in self.habits else body["id"]
        there = self.sessions.get(key)
        if there is not None and "touches" in self.habits:
            there["updated_at"] = next(self._clock)
        if there is not None and not self._overwrites(there, body):
            return JSONResponse({"error": "taken"}, 500 if "fails" in self.habits else 409)
        now = next(self._clock)
        made = {"metadata": {}, **body, "id": key, self._field: now, "updated_at": now}
        self.sessions[key] = made
        return JSONResponse(made, 201)

    def _overwrites(self, there: dict[str, Any], body: dict[str, Any]) -> bool:
        same = there["user"] == body["user"]
        return ("wipes" in self.habits and same) or ("gives-away" in self.habits and not same)

    async def one(self, request: Request) -> Response:
        key = request.path_params["id"]
        key = key.lower() if "folds" in self.habits else key
        if "secret" in self.habits and request.headers.get("authorization") != "Bearer right":
            return JSONResponse({"error": "who are you?"}, 401)
        if "finds-all" in self.habits:
            return JSONResponse({"id": key, "user": request.query_params.get("user")})
        if key not in self.sessions or ("hides" in self.habits and self._is_hidden(request, key)):
            return JSONResponse({"error": "none"}, 404)
        if request.method == "DELETE" and "keeps" not in self.habits:
            return JSONResponse(self.sessions.pop(key))
        shown = {**self.sessions[key]}
        if "flatters" in self.habits:
            shown["user"] = request.query_params["user"]
        return JSONResponse(shown)

    def _is_hidden(self, request: Request, key: str) -> bool:
        return bool(self.sessions[key]["user"] != request.query_params["user"])
