"""Distributions built from a clean copy of the tracked files, so that no build directory is left in the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_of_the_repository(directory: Path) -> Path:
    """Copy what git tracks, or everything without a dot in a source distribution, to `directory`."""
    copy = directory / "source"
    for name in _tracked():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def build(kind: str, directory: Path) -> Path:
    """Build a `wheel` or an `sdist` with the locked build back end; returns the file."""
    copy = copy_of_the_repository(directory)
    code = f"import sys; from setuptools import build_meta as b; print(b.build_{kind}(sys.argv[1]))"
    out = directory / "dist"
    out.mkdir()
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=copy, check=True, capture_output=True)
    (built,) = out.iterdir()
    return built


def _tracked() -> list[str]:
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return [name for name in listed.stdout.split("\0") if name]
    hidden = {".venv", ".git", "__pycache__", "node_modules"}
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
    return [str(path) for path in paths if not hidden & set(path.parts)]
