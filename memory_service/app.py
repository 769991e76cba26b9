"""The application: one service behind two doors, REST and MCP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.routing import Route

from memory_service.api import memory_routes
from memory_service.mcp import memory_server
from memory_service.mcp_door import McpDoor
from memory_service.service import Clock, MemoryService, utc_now
from memory_service.store import Store
from service_kit import problems
from service_kit.body import BoundedBody
from service_kit.database import Database

MAX_BODY: Final = 10 * 1024 * 1024


class Health(BaseModel):
    """That the process is alive."""

    status: str = "ok"


class MemoryApp(FastAPI):
    """REST, MCP and the pages about them."""

    def __init__(self, database: Database, now: Clock = utc_now) -> None:
        """Serve the memories in a database, which is closed at the end; `now` is what expiry goes by."""
        super().__init__(
            title="Memory service",
            version=version("session-sidecar"),
            lifespan=self._lifespan,
            redirect_slashes=False,
        )
        self._database = database
        service = MemoryService(Store(database), now)
        self._mcp = McpDoor(memory_server(service, self.version), MAX_BODY)
        problems.install(self)
        self.add_middleware(BoundedBody, largest=MAX_BODY)
        self.include_router(memory_routes(service))
        self.router.routes.append(Route("/mcp", self._mcp))
        self.add_api_route("/health", _health, tags=["health"])

    def end_streams(self) -> None:
        """End what would never end by itself, so that the server can stop."""
        self._mcp.end_streams()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        try:
            async with self._mcp.run():
                yield
        finally:
            await self._database.close()


async def _health() -> Health:
    """Say that the process is alive."""
    return Health()
