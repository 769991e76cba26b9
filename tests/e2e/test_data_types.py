"""The two services agree about ids, and can live in one database without knowing of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from memory_service.settings import VERSION_TABLE as MEMORY_VERSION_TABLE
from service_kit.sql.migrations import Migrations
from session_service.__main__ import main as session_service
from session_service.settings import VERSION_TABLE as SESSION_VERSION_TABLE
from tests.support.memories import SCHEMA, memory_migrations
from tests.support.old_memories import in_database
from tests.support.postgres import fresh_database, postgres

__all__ = ["postgres"]

IDS = {"session_id", "user_id"}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with fresh_database(request, tmp_path / "both.db") as made:
        yield made


def session_migrations(url: str) -> Migrations:
    return Migrations("session_service", url, SCHEMA, SESSION_VERSION_TABLE)


def upgrade_both(url: str) -> None:
    asyncio.run(session_migrations(url).move())
    asyncio.run(memory_migrations(url).move())


def id_columns(connection: sa.Connection) -> dict[tuple[str, str], tuple[str, object]]:
    """The type and the collation of every live column that holds an id; a quarantine is for those that are none."""
    inspector = sa.inspect(connection)
    return {
        (table, column["name"]): (column["type"].compile(connection.dialect), column["type"].collation)  # type: ignore[attr-defined]
        for table in inspector.get_table_names()
        if not table.endswith("_quarantine")
        for column in inspector.get_columns(table)
        if column["name"] in IDS
    }


def test_ids_have_one_type_everywhere(url: str) -> None:
    """Each id column of either service is VARCHAR(255) and compared byte for byte."""
    upgrade_both(url)
    found = in_database(url, id_columns)
    assert {("sessions", "session_id"), ("sessions", "user_id")} <= found.keys()
    assert {("memories", "session_id"), ("memories", "user_id")} <= found.keys()
    assert set(found.values()) == {("VARCHAR(255)", None)}


def test_each_service_has_its_own_history(url: str) -> None:
    """In one database, one goes down and up again while the other stays as it is."""
    upgrade_both(url)
    asyncio.run(memory_migrations(url).move("base"))
    assert asyncio.run(session_migrations(url).is_current())
    assert not asyncio.run(memory_migrations(url).is_current())
    tables = set(in_database(url, lambda connection: sa.inspect(connection).get_table_names()))
    assert "memories" not in tables
    assert {"sessions", SESSION_VERSION_TABLE, MEMORY_VERSION_TABLE} <= tables
    asyncio.run(session_migrations(url).move("base"))
    asyncio.run(memory_migrations(url).move())
    assert asyncio.run(memory_migrations(url).is_current())
    assert not asyncio.run(session_migrations(url).is_current())


def test_memories_without_a_session_are_reported(url: str) -> None:
    """Where both share a database, the session service lists the sessions that only memories name."""
    upgrade_both(url)
    now = "'2026-01-01 00:00:00+00'" if url.startswith("postgresql") else "'2026-01-01 00:00:00.000000'"

    def fill(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "INSERT INTO sessions (session_id, user_id, status, conversation_data, metadata, created_at, updated_at)"
            f" VALUES ('known', 'u', 'active', '{{}}', '{{}}', {now}, {now})"
        )
        for number, session in enumerate(("known", "orphan")):
            connection.exec_driver_sql(
                "INSERT INTO memories (id, memory_type, user_id, session_id, content, search_terms, importance_score,"
                f" context, metadata, active, created_at, updated_at) VALUES ('{number}', 'session', 'u', '{session}',"
                f" '', '', 0.5, '{{}}', '{{}}', true, {now}, {now})"
            )

    in_database(url, fill)
    result = CliRunner().invoke(session_service, ["migrate", "--report"], env={"SESSION_DATABASE_URL": url})
    assert result.exit_code == 0
    assert "memory session without a session: orphan\n" in result.stdout
    assert "memory session without a session: known" not in result.stdout
