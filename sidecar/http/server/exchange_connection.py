"""A client connection as the exchange that it serves sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import ASGIApp

from sidecar.http.server.connection import Timeouts
from sidecar.http.server.responding import RespondingConnection


class ExchangeConnection(RespondingConnection):
    """What an exchange asks of its client connection, beside the writing of a response."""

    __slots__ = ("app", "peer")

    def __init__(self, app: ASGIApp, patience: Timeouts, responses: list[int]) -> None:
        super().__init__(patience, responses)
        self.app = app
        self.peer: str | None = None

    def expect_body(self, *, waiting: bool) -> None:
        """Begin or cease to wait for a piece of the body."""
        raise NotImplementedError

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the request."""
        raise NotImplementedError

    def served(self, task: asyncio.Task[None]) -> None:
        """Note that the application is done with the request."""
        raise NotImplementedError
