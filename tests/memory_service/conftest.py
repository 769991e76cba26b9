"""The same tests on both databases: a fresh one for each module, migrated, with the service over it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from memory_service.app import MemoryApp
from service_kit.sql.database import Database
from tests.support.memories import SCHEMA, Clock, memory_migrations
from tests.support.postgres import empty_database, postgres
from tests.support.servers import served

__all__ = ["empty_database", "postgres"]


@pytest.fixture(scope="module")
def database_url(empty_database: str) -> str:
    """The URL of a migrated database."""
    asyncio.run(memory_migrations(empty_database).move())
    return empty_database


@pytest.fixture(scope="module")
def module_clock() -> Clock:
    """The clock of the service that the tests of a module share."""
    return Clock()


@pytest.fixture
def clock(module_clock: Clock) -> Clock:
    """What the service in this process takes for the time; every test begins at the same one."""
    module_clock.reset()
    return module_clock


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(database_url: str, module_clock: Clock) -> AsyncIterator[MemoryApp]:
    """The service inside this process. MCP needs a running one: see `server_url`."""
    database = Database(database_url, SCHEMA)
    yield MemoryApp(database, now=module_clock)
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(app: MemoryApp, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to that service. Tests that use it share the event loop of their module."""
    transport = httpx.ASGITransport(app.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service/api/v1") as opened:
        yield opened


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"user-{uuid.uuid4()}"


@pytest.fixture
def session() -> str:
    """A session that no other test knows."""
    return f"session_{uuid.uuid4()}"


@pytest.fixture(scope="module")
def server_url(database_url: str) -> Iterator[str]:
    """Where a real server serves the database."""
    with served(MemoryApp(Database(database_url, SCHEMA)).app, lifespan="on") as url:
        yield url
