"""The examples in docs/users/library.md run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "users" / "library.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def block(beginning: str) -> str:
    """Give the one example that begins so."""
    (found,) = [each for each in BLOCKS if each.startswith(beginning)]
    return found


def run_the_example(folder: Path, app: str) -> None:
    """Write the application and the page's own tests of it into a folder, and run pytest there."""
    (folder / "app.py").write_text(app)
    (folder / "conftest.py").write_text(block("# conftest.py"))
    (folder / "test_app.py").write_text(block("# test_app.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "PYTEST_"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_fastapi_example_passes_the_tests_of_the_page(tmp_path: Path) -> None:
    """With one route added, for the example has none."""
    route = '\n@app.post("/api/v1/memories/session/store")\nasync def store() -> dict[str, bool]:\n    return {}\n'
    run_the_example(tmp_path, block("from fastapi") + route)


def test_the_starlette_example_passes_the_tests_of_the_page(tmp_path: Path) -> None:
    """Its settings are read when it is imported, so the session service has to be there by then."""
    app = block("import contextlib")
    (tmp_path / "app.py").write_text(app)
    script = """
from starlette.testclient import TestClient
from sidecar.testing import serve_session_service
import os
with serve_session_service() as sessions:
    os.environ["SIDECAR_SESSION_SERVICE"] = sessions.url
    from app import app
    body = {"user_id": "ann", "session_id": "s1"}
    with TestClient(app) as client:
        answer = client.post("/api/v1/memories/session/store", json=body).json()
    # A stream of events that comes up while the session service answers makes the guard ask again.
    assert answer in ({"grounds": "created", "sessions": ["s1"]}, {"grounds": "found", "sessions": ["s1"]}), answer
    assert sessions.sessions["s1"].user_id == "ann"
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
