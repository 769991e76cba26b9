"""The deployment files name only settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.admin.effective_settings import unknown_variables

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_sidecar_variable_in_it_is_a_setting(path: Path) -> None:
    """A renamed setting must not leave a deployment behind."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    names = set(re.findall(r"\bSIDECAR_[A-Z_]+\b", text))
    assert unknown_variables(dict.fromkeys(names, "")) == []
