"""`session-sidecar up`: what it derives from the data directory. `tests/e2e/test_up.py` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from sidecar.tools.up.command import _with_defaults


@pytest.mark.parametrize("name", ["plain", "what?x=1", "100%41", "a b#c", "目录"])
def test_the_databases_are_in_the_folder_whatever_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters that mean something in a URL are a part of the folder's name."""
    for variable in ("SESSION_DATABASE_URL", "MEMORY_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    environment = _with_defaults(Path("/srv") / name)
    assert make_url(environment["SESSION_DATABASE_URL"]).database == f"/srv/{name}/sessions.db"
    assert make_url(environment["MEMORY_DATABASE_URL"]).database == f"/srv/{name}/memories.db"
    assert environment["SIDECAR_OUTBOX"] == f"/srv/{name}/outbox.db"
