"""The application: one service behind two doors, REST and MCP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import select
from starlette.routing import Route
from starlette.types import ASGIApp

from memory_service.api import memory_routes
from memory_service.mcp import memory_server
from memory_service.mcp_door import McpDoor
from memory_service.service import MemoryService, utc_now
from memory_service.session_memories import Clock
from memory_service.settings import Settings
from memory_service.store import Store
from service_kit import problems, telemetry
from service_kit.body import BoundedBody
from service_kit.database import Database
from service_kit.pages import install_docs

if TYPE_CHECKING:
    from service_kit.registration import Registration

MAX_BODY: Final = 10 * 1024 * 1024


def build(settings: Settings) -> MemoryApp:
    """Make the application that the settings describe."""
    return MemoryApp(Database(settings.database_url, settings.database_schema), settings.registration())


class Health(BaseModel):
    """The answer to a health check, given where the database answers."""

    status: str = "ok"


class MemoryApp(FastAPI):
    """REST, MCP and the pages about them."""

    def __init__(self, database: Database, registration: Registration | None = None, now: Clock = utc_now) -> None:
        """Serve the memories in a database, which is closed at the end; `now` is what expiry goes by."""
        super().__init__(
            title="Memory service",
            version=version("session-sidecar"),
            lifespan=self._lifespan,
            redirect_slashes=False,
            docs_url=None,
            redoc_url=None,
        )
        self._database = database
        self._registration = registration
        service = MemoryService(Store(database), now)
        self._mcp = McpDoor(memory_server(service, self.version), MAX_BODY)
        problems.install(self)
        install_docs(self)
        self.add_middleware(BoundedBody, largest=MAX_BODY)
        self.include_router(memory_routes(service))
        self.router.routes.append(Route("/mcp", self._mcp))
        telemetry.install(self, "memory_service")
        self.add_api_route("/health", self._health, tags=["health"], responses=problems.responses(503))

    @property
    def app(self) -> ASGIApp:
        """What is served."""
        return self

    async def started(self) -> None:
        """Let others find the service, now that it answers."""
        if self._registration is not None:
            await self._registration.start()

    async def stopping(self) -> None:
        """Let no client find the service any more, and end the streams, which would never end by themselves."""
        if self._registration is not None:
            await self._registration.stop()
        self._mcp.end_streams()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        try:
            async with self._mcp.run():
                yield
        finally:
            await self._database.close()

    async def _health(self) -> Health:
        """Say whether the service reaches its database."""
        async with self._database.reading() as connection:
            await connection.execute(select(1))
        return Health()
