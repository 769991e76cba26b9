"""The same tests on both databases: a fresh one for each module, migrated, with the service over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from service_kit.sql.database import Database
from service_kit.sql.migrations import Migrations
from session_service.app import SessionService
from session_service.settings import VERSION_TABLE, Settings
from tests.support.postgres import empty_database, postgres, postgres_url

__all__ = ["empty_database", "postgres", "postgres_url"]

SCHEMA = "dev"


def migrations(url: str) -> Migrations:
    return Migrations("session_service", url, SCHEMA, VERSION_TABLE)


@pytest.fixture(scope="module")
def database_url(empty_database: str) -> str:
    """The URL of a migrated database."""
    asyncio.run(migrations(empty_database).move())
    return empty_database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, SCHEMA)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(database_url: str) -> AsyncIterator[SessionService]:
    """The service inside this process, running: for tests whose event loop lives as long as their module."""
    built = SessionService(Settings(SESSION_DATABASE_URL=database_url))
    async with built.running():
        yield built


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: SessionService) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to that service; whole answers only, so not for the event stream."""
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service/api/v1") as opened:
        yield opened
