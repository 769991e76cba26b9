"""What a request must pass before anything looks at it: the token, where one is set, and the size of its body."""

from __future__ import annotations

import hmac
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_service.problems import problem

_GUARDED: Final = "/api/"
_LARGEST_BODY: Final = 10 << 20


class BearerToken:
    """Lets only those into `/api/` who name the token (RFC 6750, section 2.1). `/health` and the pages stay open."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED) or self._is_named(scope):
            await self._app(scope, receive, send)
            return
        detail = "A token is required: Authorization: Bearer …"
        await problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _is_named(self, scope: Scope) -> bool:
        named = Headers(scope=scope).get("authorization", "")
        return hmac.compare_digest(named.encode("latin-1"), self._expected)


class BoundedBody:
    """Stops reading a body at 10 MiB, whether its length was declared or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        left = _LARGEST_BODY

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"A body of at most {_LARGEST_BODY} bytes is accepted.")
            return message

        await self._app(scope, bounded, send)
