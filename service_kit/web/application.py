"""The web application of a service, before it has routes of its own: errors, pages, health, metrics, bounded bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware import Middleware

from service_kit.process.extras import installed_version
from service_kit.web import problems, telemetry
from service_kit.web.body import BoundedBody
from service_kit.web.pages import install_docs

LARGEST_BODY: Final = 10 << 20
"""Bytes of a request body."""


class Health(BaseModel):
    """The service is up and reaches its database."""

    status: Literal["ok"] = "ok"


def service_application(
    title: str,
    metrics: str,
    *,
    running: Callable[[], AbstractAsyncContextManager[None]],
    reach_database: Callable[[], Awaitable[object]],
    middleware: Sequence[Middleware] = (),
) -> FastAPI:
    """Make the application.

    `metrics` begins the names of its metrics, `running` is entered while it serves, `reach_database` raises
    DatabaseUnavailable where the service is not healthy, and `middleware` stands around its routes.
    """
    app = FastAPI(
        title=title,
        version=installed_version(),
        lifespan=lambda _: running(),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        middleware=[Middleware(BoundedBody, largest=LARGEST_BODY), *middleware],
    )

    async def health() -> Health:
        """Whether the service reaches its database."""
        await reach_database()
        return Health()

    app.add_api_route("/health", health, tags=["health"], responses=problems.responses(503))
    # Many health checks ask by HEAD, `wget --spider` among them.
    app.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)
    problems.install(app)
    install_docs(app)
    telemetry.install(app, metrics)
    return app
