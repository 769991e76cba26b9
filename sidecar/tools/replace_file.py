"""Writes a small file atomically: a reader, or a kill at any moment, finds the old content or the new one."""

from __future__ import annotations

from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write the content beside the file, and put it in its place as a whole (rename(2)). Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)
