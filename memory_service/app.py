"""The one place where the parts of the service are put together: one service behind two doors, REST and MCP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import select
from starlette.routing import Route

from memory_service.api import memory_routes
from memory_service.mcp import memory_server
from memory_service.mcp_door import McpDoor
from memory_service.service import MemoryService, utc_now
from memory_service.session_memories import Clock
from memory_service.settings import Settings
from memory_service.store import Store
from service_kit.sql.database import Database, repeated_if_stale
from service_kit.web.application import LARGEST_BODY, service_application


def build(settings: Settings) -> MemoryApp:
    """Make the application that the settings describe."""
    return MemoryApp(Database(settings.database_url, settings.database_schema))


class MemoryApp:
    """The service with everything it holds: `app` serves REST, MCP and the pages about them."""

    def __init__(self, database: Database, now: Clock = utc_now) -> None:
        """Serve the memories in a database, which is closed at the end; `now` is what expiry goes by."""
        self._database = database
        self.app = service_application(
            "Memory service", "memory_service", running=self._running, reach_database=self._reach_database
        )
        service = MemoryService(Store(database), now)
        self._mcp = McpDoor(memory_server(service, self.app.version), LARGEST_BODY)
        self.app.include_router(memory_routes(service))
        self.app.router.routes.append(Route("/mcp", self._mcp))

    async def stopping(self) -> None:
        """End the streams, which would never end by themselves."""
        self._mcp.end_streams()

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        try:
            async with self._mcp.run():
                yield
        finally:
            await self._database.close()

    @repeated_if_stale
    async def _reach_database(self) -> None:
        await self._database.read(lambda connection: connection.execute(select(1)).close())
