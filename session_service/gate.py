"""The check of the bearer token, before any other part of the service reads a request."""

from __future__ import annotations

import hmac
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service_kit.web.problems import ProblemResponse, Refused

_GUARDED: Final = "/api/"


class BearerToken:
    """Refuses calls below `/api/` without the token (RFC 6750, section 2.1). `/health` and the pages need none."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED) or self._is_named(scope):
            await self._app(scope, receive, send)
            return
        refused = Refused(401, "unauthorized", "a token is required: Authorization: Bearer …")
        await ProblemResponse(refused, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _is_named(self, scope: Scope) -> bool:
        # The name of the scheme is case-insensitive, and any number of spaces may follow it (RFC 9110, section 11.4).
        scheme, _, named = Headers(scope=scope).get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(named.lstrip(" ").encode("latin-1"), self._token)
