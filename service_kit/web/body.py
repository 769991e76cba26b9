"""A bound on request bodies, so that no client decides how much memory a service takes."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BoundedBody:
    """Stops reading a body beyond so many bytes, whether its length was declared or not.

    Raises HTTPException 413 where the application reads; an application that does not read is not disturbed.
    """

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        left = self._largest

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"a body of at most {self._largest} bytes is accepted")
            return message

        await self._app(scope, bounded, send)
