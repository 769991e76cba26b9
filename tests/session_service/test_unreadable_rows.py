"""A value that another program has broken since the migration costs itself and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from session_service.app import SessionService
from session_service.settings import Settings
from tests.session_service.conftest import migrations


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("conversation_data", ""),
        ("conversation_data", "{'a': 1}"),
        ("metadata", "free text"),
        ("created_at", "2025/09/01 08:00"),
        ("created_at", 1725177600),
        ("updated_at", "yesterday"),
    ],
)
async def test_a_broken_value_breaks_no_answer(tmp_path: Path, column: str, value: object) -> None:
    """The session is listed, found, ensured and changed like any other; only the broken value is a default."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    await migrations(url).move()
    service = SessionService(Settings(SESSION_DATABASE_URL=url))
    transport = httpx.ASGITransport(service.app)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service/api/v1") as client:
        for name in ("before", "broken", "after"):
            await client.put(f"/sessions/{name}", json={"user_id": "ann", "metadata": {"a": 1}})
        with closing(sqlite3.connect(tmp_path / "sessions.db")) as other:
            other.execute(f"UPDATE sessions SET {column} = ? WHERE session_id = 'broken'", [value])
            other.commit()
        listed = (await client.get("/sessions")).json()["sessions"]
        assert [one["session_id"] for one in listed] == ["after", "broken", "before"]
        assert (await client.get("/sessions/broken")).json()["user_id"] == "ann"
        assert (await client.put("/sessions/broken", json={"user_id": "ann"})).status_code == 200
        assert (await client.put("/sessions/broken", json={"user_id": "bob"})).status_code == 409
        assert (await client.patch("/sessions/broken", json={"metadata": {"b": 2}})).json()["metadata"] == {"b": 2}
        assert (await client.delete("/sessions/broken")).status_code == 204
