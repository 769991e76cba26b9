"""The admin application: liveness, readiness, metrics, dashboard, settings, and the cache's view of a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sidecar.admin.access import AdminAccess, HostNames
from sidecar.admin.page import dashboard_page
from sidecar.admin.state import DashboardState
from sidecar.cache.session_cache import SessionCache
from sidecar.model import SessionKey, SessionStatus


@dataclass
class Inspected:
    """What the admin address shows of the running sidecar. `known` is None until the cache is there, and in mode off.

    `scope` names what scopes a session id in the cache besides the id itself; `canonical` gives the spelling of an id
    under which the cache knows the session.
    """

    registry: CollectorRegistry
    state: DashboardState
    settings: Sequence[tuple[str, str]]
    is_ready: Callable[[], bool]
    known: SessionCache | None = None
    scope: Sequence[str] = ()
    canonical: Callable[[str], str] = str


def admin_app(inspected: Inspected, *, token: str | None, hosts: HostNames) -> Starlette:
    """Build the admin application. `is_ready` of what it shows is false while the sidecar starts and drains."""
    page = dashboard_page()

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_request: Request) -> Response:
        return PlainTextResponse("ready\n") if inspected.is_ready() else PlainTextResponse("not ready\n", 503)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(inspected.registry), media_type=content_type)

    async def dashboard(_request: Request) -> Response:
        return page

    async def state(_request: Request) -> Response:
        return _json(await inspected.state.collect())

    async def config(_request: Request) -> Response:
        return _json(dict(inspected.settings))

    routes = [
        Route("/", dashboard),
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/metrics", metrics),
        Route("/dashboard.json", state),
        Route("/config", config),
        Route("/known/{user}/{session}", _known(inspected), methods=["GET", "DELETE"]),
    ]
    access = Middleware(AdminAccess, hosts=hosts, token=token, sign_in=dashboard_page(401))
    return Starlette(routes=routes, middleware=[access])


def _known(inspected: Inspected) -> Callable[[Request], Any]:
    async def known(request: Request) -> Response:
        """Show what the cache knows of a user's session, or forget it; 404 where it knows no such session."""
        user, session = request.path_params["user"], request.path_params["session"]
        missing = [name for name in inspected.scope if name not in request.query_params]
        if missing:
            return _json({"detail": f"the query must name {', '.join(missing)}: the profile scopes sessions"}, 400)
        scope = tuple(request.query_params[name] for name in inspected.scope)
        session_id = inspected.canonical(session)
        key: SessionKey = (*scope, session_id) if scope else session_id
        cache = inspected.known
        found = None if cache is None else cache.peek(key)
        is_of_user = found is not None and (found.status is SessionStatus.DELETED or found.owner in (user, None, ""))
        if cache is not None and request.method == "DELETE" and (found is None or is_of_user):
            cache.forget(key)
            return Response(status_code=204)
        if found is None or not is_of_user:
            why = "nothing is known of this session" if found is None else "this session is known as another user's"
            return _json({"detail": why, "session_id": session, "user_id": user}, 404)
        return _json({"session_id": session, "user_id": found.owner, "status": found.status.value})

    return known


def _json(content: object, status: int = 200) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, media_type="application/json")
