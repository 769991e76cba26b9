"""A fresh schema without a process of its own: starting one costs more than all of its migrations."""

from __future__ import annotations

import asyncio

from service_kit.sql.migrations import Migrations


def migrate(package: str, url: str) -> None:
    """Bring an empty database to the schema of `session_service` or `memory_service`."""
    schema = "dev" if url.startswith("postgresql") else None
    asyncio.run(Migrations(package, url, schema, f"{package}_version").move())
