"""The one place where the parts of the service are put together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.middleware import Middleware

from service_kit.sql.database import Database
from service_kit.sql.engine import is_sqlite
from service_kit.web import problems
from service_kit.web.application import service_application
from session_service import api, stream
from session_service.direct import DirectCalls
from session_service.events import EventLog
from session_service.feed import Feed
from session_service.gate import BearerToken
from session_service.notifications import Notifications
from session_service.service import Sessions
from session_service.settings import Settings
from session_service.store import Store
from session_service.strict_input import strict_input

_BEARER: Final = HTTPBearer(scheme_name="token", auto_error=False)
"""What OpenAPI says of the token; `gate` checks it."""


class SessionService:
    """The service with everything it holds. Use `app` while `running`."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings.database_url, settings.database_schema)
        events = EventLog(self._database)
        self.feed = Feed(events)
        self.sessions = Sessions(Store(self._database, events, self.feed.take))
        self._notifications = Notifications(self._database, self.feed.wake)
        self.app = self._application(settings)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read and tell events until the end of the block."""
        self.feed.start()
        if not is_sqlite(self._database.engine):
            self._notifications.start()
        try:
            yield
        finally:
            await self._notifications.stop()
            await self.feed.stop()
            await self._database.close()

    async def stopping(self) -> None:
        """End the streams, which would never end by themselves."""
        await self.feed.stop()

    def _application(self, settings: Settings) -> FastAPI:
        errors = problems.responses(400, 413, 422, 503)
        guards = [Depends(strict_input)]
        middleware = [Middleware(DirectCalls, sessions=self.sessions)]
        if settings.token is not None:
            errors |= problems.responses(401)
            guards.insert(0, Security(_BEARER))
            middleware.insert(0, Middleware(BearerToken, token=settings.token.get_secret_value()))
        app = service_application(
            "Session service",
            "session_service",
            running=self.running,
            reach_database=self.feed.present,
            middleware=middleware,
        )
        app.state.sessions, app.state.feed = self.sessions, self.feed
        for router in (api.router, stream.router):
            app.include_router(router, dependencies=guards, responses=errors)
        return app
