"""The application that both services put their routes into, served by a real server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from service_kit.sql.database import DatabaseUnavailable
from service_kit.web.application import service_application
from tests.support.servers import served


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[None]:
    yield


async def reached() -> None:
    """A database that answers."""


async def away() -> None:
    """A database that does not."""
    raise DatabaseUnavailable("away")


@pytest.mark.parametrize(("reach_database", "status"), [(reached, 200), (away, 503)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_health_check_may_ask_by_either_method(reach_database, status, method) -> None:
    """The status is that of the database; a response to HEAD has the fields of the other and no content."""
    app = service_application("Demo", "demo", running=running, reach_database=reach_database)
    with served(app, lifespan="on") as url, httpx.Client(base_url=url, trust_env=False) as client:
        response = client.request(method, "/health")
        got = client.get("/health")
    assert (response.status_code, response.headers["content-type"]) == (status, got.headers["content-type"])
    assert response.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
    assert response.content == (got.content if method == "GET" else b"")
