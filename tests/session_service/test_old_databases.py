"""Old databases as programs of all kinds left them: every session is listed or named in quarantine with its reason."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import sqlalchemy as sa

from service_kit.ids import unsafe_because
from service_kit.sql.database import Database
from service_kit.sql.engine import create_engine, is_sqlite
from service_kit.sql.migration_log import MigrationLog
from service_kit.sql.migrations import Migrations
from service_kit.sql.report import reading
from session_service.app import SessionService
from session_service.report import write_report
from session_service.settings import VERSION_TABLE, Settings
from tests.session_service.conftest import SCHEMA
from tests.support.postgres import fresh_database

START: Final = dt.datetime(2025, 9, 1, 8, tzinfo=dt.UTC)
ID_TYPES: Final = ("UUID", "VARCHAR(255)", "TEXT")
NUMBERED: Final = {"serial": {"sqlite": "id INTEGER PRIMARY KEY,", "postgresql": "id SERIAL PRIMARY KEY,"}, "none": {}}
BY_DEFAULT: Final = {("UUID", "UUID", "serial"), ("VARCHAR(255)", "TEXT", "none"), ("TEXT", "UUID", "serial")}
SHAPES: Final = [
    pytest.param(*shape, marks=() if shape in BY_DEFAULT else pytest.mark.variant)
    for shape in itertools.product(ID_TYPES, ID_TYPES, NUMBERED)
]
"""Types of the session's and the user's id, and row numbers: each of them by default, all combinations with --long."""
BROKEN_JSON: Final = ("", "{'a': 1}", '{"a":', "NaN", '{"n": 1e999}', '"\\ud800"')
BROKEN_TIMES: Final = ("yesterday", "2025-13-01", "")
JSON_TEXTS: Final = (('{"a": 1}', {"a": 1}), ('"{\\"a\\": 1}"', {"a": 1}), ("[1, 2]", [1, 2]), ("null", {}))

MIGRATE: Final = """
import asyncio, sys
from service_kit.sql.migrations import Migrations
asyncio.run(Migrations("session_service", sys.argv[1], sys.argv[2], sys.argv[3]).move())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of this test alone."""
    with fresh_database(request, tmp_path / "sessions.db") as made:
        yield made


def spelled(time: dt.datetime, number: int) -> str:
    """A time as one of many programs wrote it; they sort differently as text."""
    naive = time.replace(tzinfo=None)
    return [
        naive.isoformat(" "),
        f"{naive.isoformat()}Z",
        str(int(time.timestamp())),
        naive.strftime("%Y/%m/%d %H:%M:%S"),
        str(int(time.timestamp() * 1000)),
        time.astimezone(dt.timezone(dt.timedelta(hours=8))).isoformat(),
    ][number % 6]


def old_rows(count: int, session_type: str, user_type: str, *, on_postgres: bool) -> list[dict[str, Any]]:
    """Rows in the order in which they came; a uuid column of Postgres holds UUIDs and nothing else."""
    chance = random.Random(count)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        fields: dict[str, Any] = {}
        for name, kind in (("session_id", session_type), ("user_id", user_type)):
            an_id = str(uuid.UUID(int=chance.getrandbits(128)))
            fields[name] = an_id.upper() if number % 7 == 3 else an_id
            if not (on_postgres and kind == "UUID"):
                fields[name] = [fields[name], f"{name}_{number}", f"User|{number}@x", fields[name]][number % 4]
                if number % 41 == 5:
                    fields[name] = [f"with space {number}", "", "ä", "x" * 255][(number // 41) % 4]
        if number % 29 == 7:
            fields["user_id"] = None
        if number % 53 == 11:
            fields["session_id"] = None
        if number % 17 == 13 and number > 20:
            fields["session_id"] = rows[number - 5]["session_id"]
        fields["conversation_data"], fields["metadata"] = (
            BROKEN_JSON[number % len(BROKEN_JSON)] if number % 19 == 2 else JSON_TEXTS[number % len(JSON_TEXTS)][0],
            None if number % 3 == 0 else JSON_TEXTS[(number + 1) % len(JSON_TEXTS)][0],
        )
        at = START + dt.timedelta(seconds=number // 3)  # three rows share a second: their order is that of the rows
        fields["created_at"] = BROKEN_TIMES[number % 3] if number % 23 == 4 else spelled(at, number)
        fields["mark"] = number
        rows.append(fields)
    return rows


async def make_old(url: str, session_type: str, user_type: str, numbered: str, rows: list[dict[str, Any]]) -> None:
    """A table without any of our rules, one that refers to it, and the rows."""
    engine = create_engine(url, SCHEMA, statement_wait=None)
    async with engine.begin() as connection:
        dialect = connection.dialect.name
        number = NUMBERED[numbered].get(dialect, "")
        if not is_sqlite(connection):
            await connection.exec_driver_sql("CREATE SCHEMA dev")
        await connection.exec_driver_sql(
            f"CREATE TABLE sessions ({number} session_id {session_type}, user_id {user_type},"
            " conversation_data TEXT, metadata TEXT, created_at TEXT, mark INTEGER NOT NULL)"
        )
        types = {"session_id": session_type, "user_id": user_type} if dialect == "postgresql" else {}
        values = ", ".join(f"CAST(:{name} AS {types[name]})" if name in types else f":{name}" for name in rows[0])
        await connection.execute(sa.text(f"INSERT INTO sessions ({', '.join(rows[0])}) VALUES ({values})"), rows)
    await engine.dispose()


async def table(url: str, name: str, order: str) -> list[dict[str, Any]]:
    database = Database(url, SCHEMA)
    async with database.reading() as connection:
        rows = await connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY {order}"))
        found = [dict(row) for row in rows.mappings()]
    await database.close()
    return found


async def listed(url: str) -> list[dict[str, Any]]:
    """Every session as the API lists it, the oldest first."""
    service = SessionService(Settings(SESSION_DATABASE_URL=url))
    found: list[dict[str, Any]] = []
    transport = httpx.ASGITransport(service.app)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service/api/v1") as client:
        query: dict[str, Any] = {"limit": 500}
        while True:
            response = await client.get("/sessions", params=query)
            assert response.status_code == 200
            page = response.json()
            found += page["sessions"]
            if page["next_cursor"] is None:
                return found[::-1]
            query["cursor"] = page["next_cursor"]


def why_broken(ids: dict[str, str | None]) -> str | None:
    """What the rules say of a row's ids."""
    for name in ("session_id", "user_id"):
        text = ids[name]
        if text is None:
            return f"{name}_required"
        if unsafe_because(text):
            return f"invalid_{name}"
    return None


async def check_rows(url: str, rows: list[dict[str, Any]], folded: set[str], numbered: str, log: MigrationLog) -> None:
    """Each old row is in exactly one place, with its reason where that is the quarantine."""
    kept = {row["mark"]: row for row in await table(url, "sessions", "mark")}
    out = {row["mark"]: row for row in await table(url, "sessions_quarantine", "mark")}
    assert kept.keys() | out.keys() == {row["mark"] for row in rows}
    assert not kept.keys() & out.keys()
    seen: set[str | None] = set()
    for row in rows:
        fold = {name for name in folded if row[name]}
        ids = {name: row[name].lower() if name in fold else row[name] for name in ("session_id", "user_id")}
        expected, found = why_broken(ids), {**kept, **out}[row["mark"]]
        assert (found["session_id"], found["user_id"]) == (ids["session_id"], ids["user_id"])
        if expected or row["mark"] in out:
            assert out[row["mark"]]["quarantine_reason"] == (expected or "duplicate_session_id")
        if expected is None:
            # Rows with a number go by it; others by their time, so that the first is not always the first row.
            assert numbered == "none" or (row["mark"] in out) == (ids["session_id"] in seen)
            seen.add(ids["session_id"])
    assert seen == {row["session_id"] for row in kept.values()}
    assert len(seen) == len(kept)
    if log.steps:  # nothing to do where a migration was quicker than its killer
        assert log.kept["sessions"] == len(kept)
        assert sum(count for (name, _), count in log.quarantined.items() if name == "sessions_quarantine") == len(out)


async def check_values(url: str, rows: list[dict[str, Any]]) -> None:
    """Each value that cannot be read lies in quarantine, as it was."""
    found = await table(url, "session_values_quarantine", "session_id")
    broken = {"conversation_data": BROKEN_JSON, "metadata": BROKEN_JSON, "created_at": BROKEN_TIMES}
    assert sorted((value["column_name"], str(value["old_value"])) for value in found) == sorted(
        (name, row[name]) for row in rows for name, values in broken.items() if row[name] in values
    )


async def check_listing(url: str, rows: list[dict[str, Any]], places: dict[int, int]) -> None:
    """Every session that was kept is listed, in the order of their times and rows, with its values."""
    kept, shown = await table(url, "sessions", "id"), await listed(url)
    assert [one["session_id"] for one in shown] == [row["session_id"] for row in kept]
    timed = [row["mark"] for row in kept if rows[row["mark"]]["created_at"] not in BROKEN_TIMES]
    assert timed == sorted(timed, key=lambda mark: (mark // 3, places[mark]))
    for one, row in zip(shown, kept, strict=True):
        old = rows[row["mark"]]
        assert one["conversation_data"] == dict(JSON_TEXTS).get(old["conversation_data"], {})
        assert one["metadata"] == dict(JSON_TEXTS).get(old["metadata"], {})
        if old["created_at"] not in BROKEN_TIMES:
            assert dt.datetime.fromisoformat(one["created_at"]) == START + dt.timedelta(seconds=old["mark"] // 3)


async def migrate_and_check(
    url: str, count: int, session_type: str, user_type: str, numbered: str, *, kills: tuple[float, ...] = ()
) -> None:
    """Fill an old database, migrate it, perhaps killed on the way, and compare."""
    on_postgres = url.startswith("postgres")
    rows = old_rows(count, session_type, user_type, on_postgres=on_postgres)
    await make_old(url, session_type, user_type, numbered, rows)
    # Postgres puts a short row where a long one did not fit, so that rows may lie in another order than they came.
    order = "ctid" if on_postgres and numbered == "none" else "mark"
    places = {row["mark"]: place for place, row in enumerate(await table(url, "sessions", order))}
    for seconds in kills:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, url, SCHEMA, VERSION_TABLE)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
    log = MigrationLog()
    await Migrations("session_service", url, SCHEMA, VERSION_TABLE, log).move()
    kinds = (("session_id", session_type), ("user_id", user_type))
    folded = {name for name, kind in kinds if on_postgres and kind == "UUID"}
    await check_rows(url, rows, folded, numbered, log)
    await check_values(url, rows)
    await check_listing(url, rows, places)


@pytest.mark.parametrize(("session_type", "user_type", "numbered"), SHAPES)
async def test_every_old_session_is_listed_or_named_in_quarantine(
    url: str, session_type: str, user_type: str, numbered: str
) -> None:
    """With ids of each type, and with row numbers or without."""
    await migrate_and_check(url, 300, session_type, user_type, numbered)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("numbered", NUMBERED)
@pytest.mark.parametrize(("session_type", "user_type"), [("UUID", "UUID"), ("VARCHAR(255)", "TEXT"), ("TEXT", "UUID")])
async def test_twenty_thousand_old_sessions_survive_killed_migrations(
    url: str, session_type: str, user_type: str, numbered: str
) -> None:
    """A migration that is killed anywhere has changed nothing, and the next one starts anew."""
    kills = (0.9, 1.1, 1.3, 1.5, 1.8)
    await migrate_and_check(url, 20_000, session_type, user_type, numbered, kills=kills)


async def prepare(url: str, *statements: str) -> None:
    """Make an old Postgres database by hand."""
    engine = create_engine(url, SCHEMA)
    async with engine.begin() as connection:
        for statement in ("CREATE SCHEMA dev", *statements):
            await connection.exec_driver_sql(statement)
    await engine.dispose()


async def migrated(url: str) -> MigrationLog:
    log = MigrationLog()
    await Migrations("session_service", url, SCHEMA, VERSION_TABLE, log).move()
    return log


@pytest.fixture
def postgres_alone(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Postgres database of this test alone."""
    server = request.getfixturevalue("postgres")
    made = server.create_database()
    yield made
    server.drop_database(made)


async def test_no_foreign_key_holds_a_migration_up_or_takes_rows_away(postgres_alone: str) -> None:
    """Keys that lead to sessions or from their ids are removed and named; the rows that refer stay, all of them."""
    session, user = str(uuid.uuid4()), str(uuid.uuid4())
    await prepare(
        postgres_alone,
        "CREATE TABLE users (id uuid PRIMARY KEY)",
        "CREATE TABLE sessions (id serial PRIMARY KEY, session_id text UNIQUE, user_id uuid REFERENCES users (id))",
        "CREATE TABLE messages (session_id text REFERENCES sessions (session_id) ON DELETE CASCADE,"
        " number int REFERENCES sessions (id))",
        f"INSERT INTO users VALUES ('{user}')",
        f"INSERT INTO sessions (session_id, user_id) VALUES ('{session}', '{user}'), ('broken id', '{user}')",
        f"INSERT INTO messages VALUES ('{session}', 1), ('broken id', 2)",
    )
    log = await migrated(postgres_alone)
    assert len(await table(postgres_alone, "messages", "number")) == 2
    assert [row["session_id"] for row in await table(postgres_alone, "sessions", "id")] == [session]
    assert sum("foreign key" in note for note in log.notes) == 3


@pytest.mark.parametrize("key", ["session_id uuid PRIMARY KEY", "id uuid PRIMARY KEY, session_id uuid UNIQUE"])
async def test_uuids_may_be_the_key_of_the_table(postgres_alone: str, key: str) -> None:
    """The rows get numbers, by their time, and new sessions the next ones."""
    ids = [str(uuid.uuid4()) for _ in range(3)]
    number = "id, " if key.startswith("id") else ""
    values = ", ".join(
        (f"('{uuid.uuid4()}', " if number else "(") + f"'{one}', '{one}', '2025-01-0{day} 00:00:00+00')"
        for one, day in zip(ids, (3, 1, 2), strict=True)
    )
    await prepare(
        postgres_alone,
        f"CREATE TABLE sessions ({key}, user_id uuid, created_at timestamptz)",
        f"INSERT INTO sessions ({number}session_id, user_id, created_at) VALUES {values}",
    )
    await migrated(postgres_alone)
    service = SessionService(Settings(SESSION_DATABASE_URL=postgres_alone))
    transport = httpx.ASGITransport(service.app)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service/api/v1") as client:
        assert (await client.put("/sessions/new", json={"user_id": "ann"})).status_code == 201
    assert [one["session_id"] for one in await listed(postgres_alone)] == [ids[1], ids[2], ids[0], "new"]


async def test_letter_case_that_a_uuid_column_folds_is_taken_from_the_memories(postgres_alone: str) -> None:
    """Owners match their memories afterwards, and the report says that they do."""
    session, user = str(uuid.uuid4()).upper(), str(uuid.uuid4()).upper()
    await prepare(
        postgres_alone,
        "CREATE TABLE sessions (id serial PRIMARY KEY, session_id uuid UNIQUE, user_id uuid)",
        "CREATE TABLE session_memories (id uuid, session_id varchar, user_id varchar)",
        f"INSERT INTO sessions (session_id, user_id) VALUES ('{session}', '{user}')",
        f"INSERT INTO session_memories VALUES ('{uuid.uuid4()}', '{session}', '{user}')",
    )
    await migrated(postgres_alone)
    (row,) = await table(postgres_alone, "sessions", "id")
    assert (row["session_id"], row["user_id"]) == (session, user)
    lines = await report(postgres_alone)
    assert "memory session without a session: 0 in all" in lines
    assert "memory session of another user than its session: 0 in all" in lines


async def report(url: str) -> list[str]:
    """The lines of `migrate --report`."""
    lines: list[str] = []
    async with reading(url, SCHEMA) as database:
        await write_report(database, lines.append)
    return lines


async def test_the_report_compares_owners(url: str) -> None:
    """A memory of bob's in ann's session is named, before the migration and after it."""
    engine = create_engine(url, SCHEMA)
    async with engine.begin() as connection:
        if not is_sqlite(connection):
            await connection.exec_driver_sql("CREATE SCHEMA dev")
        await connection.exec_driver_sql("CREATE TABLE sessions (session_id TEXT, user_id TEXT)")
        await connection.exec_driver_sql("CREATE TABLE session_memories (session_id TEXT, user_id TEXT)")
        await connection.exec_driver_sql("INSERT INTO sessions VALUES ('s', 'ann')")
        await connection.exec_driver_sql("INSERT INTO session_memories VALUES ('s', 'bob'), ('s', 'ann')")
    await engine.dispose()
    for _ in range(2):
        lines = await report(url)
        assert "memory session of another user than its session: s bob" in lines
        assert "memory session of another user than its session: 1 in all" in lines
        await migrated(url)


async def test_a_table_that_holds_no_sessions_is_refused_in_words(url: str) -> None:
    """The column that is missing is named."""
    engine = create_engine(url, SCHEMA)
    async with engine.begin() as connection:
        if not is_sqlite(connection):
            await connection.exec_driver_sql("CREATE SCHEMA dev")
        await connection.exec_driver_sql("CREATE TABLE sessions (id INTEGER PRIMARY KEY, cookie TEXT)")
    await engine.dispose()
    with pytest.raises(ValueError, match="no column session_id"):
        await migrated(url)
