"""Both services in one database: what the page about types says of it, and histories that do not touch."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service_kit.sql.database import Database
from service_kit.sql.migrations import Migrations
from tests.session_service.conftest import SCHEMA, migrations
from tests.support.memories import memory_migrations

PAGE = Path(__file__).parents[2] / "docs/developers/data-types.md"
ROW = re.compile(r"^\| `(\w+)` \| `(session_id|user_id)` \| (\S+) \| (yes|no) \|$", re.MULTILINE)


@pytest.fixture
async def columns(empty_database: str) -> dict[tuple[str, str], tuple[str, bool]]:
    """Type and nullability of every id column of the live tables, after both services migrated at once."""
    await asyncio.gather(migrations(empty_database).move(), memory_migrations(empty_database).move())
    return await on(empty_database, _id_columns)


async def on(url: str, read: Any) -> Any:
    database = Database(url, SCHEMA)
    try:
        async with database.reading() as connection:
            return await connection.run_sync(read)
    finally:
        await database.close()


def _id_columns(connection: sa.Connection) -> dict[tuple[str, str], tuple[str, bool]]:
    inspector = sa.inspect(connection)
    return {
        (table, column["name"]): (str(column["type"]), bool(column["nullable"]))
        for table in inspector.get_table_names()
        if not table.endswith("_quarantine")
        for column in inspector.get_columns(table)
        if column["name"] in {"session_id", "user_id"}
    }


async def test_the_page_about_types_says_what_is_there(
    columns: dict[tuple[str, str], tuple[str, bool]],
) -> None:
    """Every id column stands in the table of docs/developers/data-types.md, and nothing else does."""
    written = {
        (table, column): (kind, nullable == "yes") for table, column, kind, nullable in ROW.findall(PAGE.read_text())
    }
    assert written == columns


async def test_each_service_comes_and_goes_by_itself(
    empty_database: str, columns: dict[tuple[str, str], tuple[str, bool]]
) -> None:
    """Taking one service's tables away leaves the other's alone."""

    async def tables() -> set[str]:
        return set(await on(empty_database, lambda connection: sa.inspect(connection).get_table_names()))

    histories: tuple[Migrations, Migrations] = (migrations(empty_database), memory_migrations(empty_database))
    both = await tables()
    for leaving, staying in (histories, histories[::-1]):
        await leaving.move("base")
        assert await staying.is_current()
        left = await tables()
        assert left < both
        await leaving.move()
        assert await tables() == both
