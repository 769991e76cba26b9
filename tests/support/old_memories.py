"""The table that the memory service takes over from an older service, with rows of every kind in it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from service_kit.sql.engine import create_engine
from tests.support.memories import SCHEMA

Answer = TypeVar("Answer")

OLD_SHAPE = {
    "sqlite": """
        CREATE TABLE session_memories (id CHAR(36) NOT NULL, session_id VARCHAR(64) NOT NULL, user_id CHAR(36),
        content TEXT, role VARCHAR(20), importance_score REAL, topics JSON, is_active BOOLEAN, payload BLOB,
        strict TEXT NOT NULL, created_at TIMESTAMP)""",
    "postgresql": """
        CREATE TABLE session_memories (id uuid DEFAULT gen_random_uuid() NOT NULL,
        session_id character varying(64) NOT NULL, user_id uuid, content text, role varchar(20),
        importance_score double precision, topics jsonb, is_active boolean DEFAULT true, payload bytea,
        strict text NOT NULL, created_at timestamptz DEFAULT now())""",
}
USER = str(uuid.UUID(int=1))
GOOD = [f"session_{number}" for number in range(5)] + [str(uuid.UUID(int=9)), "cli_session_20251008_194657", "x" * 64]
BAD = ["with space", "a/b", "..", "", "会话"]
NAMES = "id, session_id, user_id, content, role, importance_score, topics, is_active, payload, strict, created_at"


def in_database(url: str, work: Callable[[sa.Connection], Answer]) -> Answer:
    """Run a function with a connection, in a transaction."""

    async def run() -> Answer:
        engine = create_engine(url, SCHEMA)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def make_old_table(connection: sa.Connection) -> None:
    """The table of the older service, with rows that can be kept and rows that cannot."""
    on_postgres = connection.dialect.name == "postgresql"
    if on_postgres:
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.exec_driver_sql(OLD_SHAPE[connection.dialect.name])
    for number, session in enumerate(GOOD + BAD):
        insert(connection, number, session)
    insert(connection, 100, "ownerless", user="NULL")
    insert(connection, 0, "twice")


def insert(connection: sa.Connection, number: int, session: str, user: str = f"'{USER}'") -> None:
    on_postgres = connection.dialect.name == "postgresql"
    payload = r"'\x00ff'::bytea" if on_postgres else "X'00ff'"
    connection.exec_driver_sql(
        f"INSERT INTO session_memories ({NAMES}) VALUES ('{uuid.UUID(int=1000 + number)}', '{session}', {user},"
        f" 'text {number} 北京', 'assistant', 0.7, '{{\"topic\": [1, null]}}', {'false' if number == 1 else 'true'},"
        f" {payload}, 'kept', '2025-10-08 19:46:{59 - number % 60:02}')"
    )


MANY_ROWS = {
    "sqlite": (
        "printf('00000000-0000-0000-0000-%012d', n)",
        "datetime('2025-01-01', n || ' seconds')",
        "(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < {0}) SELECT n FROM c)",
    ),
    "postgresql": (
        "('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid",
        "timestamptz '2025-01-01 00:00:00+00' + n * interval '1 second'",
        "generate_series(0, {0} - 1) AS c(n)",
    ),
}


def make_many_rows(connection: sa.Connection, count: int) -> None:
    """The table of the older service with so many rows; every hundredth cannot be kept."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.exec_driver_sql(OLD_SHAPE[connection.dialect.name])
    row_id, created_at, numbers = MANY_ROWS[connection.dialect.name]
    user = f"CAST('{USER}' AS uuid)" if connection.dialect.name == "postgresql" else f"'{USER}'"
    connection.exec_driver_sql(
        "INSERT INTO session_memories (id, session_id, user_id, content, strict, created_at)"
        f" SELECT {row_id}, CASE WHEN n % 100 = 0 THEN 'no id' ELSE 'session_' || n % 5000 END, {user},"
        f" 'message ' || n || ' 北京', 'kept', {created_at} FROM {numbers.format(count)}"
    )
