"""The one place where the parts of the service are put together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPBearer

from service_kit import problems, telemetry
from service_kit.body import BoundedBody
from service_kit.database import Database
from service_kit.engine import is_sqlite
from service_kit.pages import install_docs
from session_service import api, stream
from session_service.direct import DirectCalls
from session_service.events import EventLog
from session_service.feed import Feed
from session_service.gate import BearerToken
from session_service.notifications import Notifications
from session_service.schemas import Health
from session_service.service import Sessions
from session_service.settings import Settings
from session_service.store import Store
from session_service.strict_input import strict_input

_LARGEST_BODY: Final = 10 << 20
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
        self._registration = settings.registration()
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

    async def started(self) -> None:
        """Let others find the service, now that it answers."""
        if self._registration is not None:
            await self._registration.start()

    async def stopping(self) -> None:
        """Let no client find the service any more, and end the streams, which would never end by themselves."""
        if self._registration is not None:
            await self._registration.stop()
        await self.feed.stop()

    def _application(self, settings: Settings) -> FastAPI:
        app = FastAPI(
            title="Session service",
            version=version("session-sidecar"),
            lifespan=lambda _: self.running(),
            redirect_slashes=False,
            docs_url=None,
            redoc_url=None,
        )
        app.state.sessions, app.state.feed = self.sessions, self.feed
        errors = problems.responses(400, 413, 422, 503)
        guards = [Depends(strict_input)]
        if settings.token is not None:
            errors |= problems.responses(401)
            guards.insert(0, Security(_BEARER))
        for router in (api.router, stream.router):
            app.include_router(router, dependencies=guards, responses=errors)
        app.add_api_route("/health", _health, response_model=Health, responses=problems.responses(503))
        app.add_middleware(DirectCalls, sessions=self.sessions)
        app.add_middleware(BoundedBody, largest=_LARGEST_BODY)
        if settings.token is not None:
            app.add_middleware(BearerToken, token=settings.token.get_secret_value())
        problems.install(app)
        install_docs(app)
        telemetry.install(app, "session_service")
        return app


async def _health(feed: Annotated[Feed, Depends(stream.followed)]) -> Health:
    """Whether the service reaches its database."""
    await feed.present()
    return Health()
