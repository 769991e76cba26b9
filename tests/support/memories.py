"""What tests of the memory service have in common."""

from __future__ import annotations

import datetime as dt

from memory_service.settings import VERSION_TABLE
from service_kit.sql.migrations import Migrations

SCHEMA = "dev"


START = dt.datetime(2026, 1, 2, 3, 4, 5, 678_901, dt.UTC)


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> dt.datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass."""
        self.now += dt.timedelta(seconds=seconds)

    def reset(self) -> None:
        """Begin again."""
        self.now = START


def memory_migrations(url: str) -> Migrations:
    """The migrations of the memory service in one database."""
    return Migrations("memory_service", url, SCHEMA, VERSION_TABLE)


def environment(database_url: str) -> dict[str, str]:
    """What a process needs to serve a database on a free port."""
    return {"MEMORY_DATABASE_URL": database_url, "MEMORY_SERVICE_LISTEN": "127.0.0.1:0"}
