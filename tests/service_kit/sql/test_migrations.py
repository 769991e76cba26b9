"""Running a service's migrations, shown with a service that consists of two of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect

from service_kit.sql.database import Database
from service_kit.sql.migrations import Migrations
from tests.support.postgres import PostgresServer, postgres

__all__ = ["postgres"]

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = {before!r}


def upgrade():
    op.create_table("made_by_{name}", sa.Column("n", sa.Integer))
    {more}


def downgrade():
    op.drop_table("made_by_{name}")
"""


class Demo:
    """A package that can be imported, with migrations in it."""

    def __init__(self, root: Path, url: str) -> None:
        self.url = url
        self._versions = root / "per%cent" / "demo_of_migrations" / "migrations" / "versions"
        self._versions.mkdir(parents=True)
        (self._versions.parents[1] / "__init__.py").touch()
        self.add("one", None)
        self.add("two", "one")

    def add(self, name: str, before: str | None, more: str = "") -> None:
        (self._versions / f"{name}.py").write_text(REVISION.format(name=name, before=before, more=more))

    def migrations(self, version_table: str = "demo_version", schema: str | None = "some schema") -> Migrations:
        return Migrations("demo_of_migrations", self.url, schema, version_table)

    async def tables(self, schema: str | None = "some schema") -> set[str]:
        database = Database(self.url, schema)
        async with database.reading() as connection:
            found = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
        await database.close()
        return found


@pytest.fixture(params=["sqlite", "postgres"])
def demo(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    server: PostgresServer | None = None
    url = f"sqlite:///{tmp_path}/some.db"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        url = server.create_database()
    monkeypatch.syspath_prepend(str(tmp_path / "per%cent"))
    yield Demo(tmp_path, url)
    sys.modules.pop("demo_of_migrations", None)
    if server is not None:
        server.drop_database(url)


async def test_upgrade_goes_to_the_head_and_says_so(demo: Demo) -> None:
    """An empty database is not current; after the upgrade it is, and a second one changes nothing."""
    assert not await demo.migrations().is_current()
    for _ in range(2):
        await demo.migrations().move()
        assert await demo.migrations().is_current()
        assert await demo.tables() == {"demo_version", "made_by_one", "made_by_two"}


async def test_move_finds_the_direction(demo: Demo) -> None:
    """One call goes up or down, whichever leads to the revision."""
    migrations = demo.migrations()
    for revision, expected in (
        ("one", {"made_by_one"}),
        ("head", {"made_by_one", "made_by_two"}),
        ("one", {"made_by_one"}),
        ("one", {"made_by_one"}),
        ("base", set()),
        ("two", {"made_by_one", "made_by_two"}),
    ):
        await migrations.move(revision)
        assert await demo.tables() - {"demo_version"} == expected
    await migrations.move("one")
    assert not await migrations.is_current()


async def test_an_unknown_revision_is_an_error_in_words(demo: Demo) -> None:
    """It names what was asked for."""
    with pytest.raises(ValueError, match="no-such-revision"):
        await demo.migrations().move("no-such-revision")


async def test_a_migration_that_fails_leaves_nothing_behind(demo: Demo) -> None:
    """All revisions of one run happen, or none."""
    demo.add("three", "two", more="raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        await demo.migrations().move()
    assert await demo.tables() == set()


async def test_two_services_share_a_database_by_their_version_tables(demo: Demo) -> None:
    """Each has its own history."""
    await demo.migrations("first_version").move("one")
    assert await demo.migrations("first_version").is_current() is False
    await demo.migrations("first_version").move()
    assert await demo.migrations("first_version").is_current()
    assert not await demo.migrations("second_version").is_current()
