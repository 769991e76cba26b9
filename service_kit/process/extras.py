"""What an optional dependency group ("extra") of this package still lacks, said in one line instead of a traceback."""

from __future__ import annotations

import re
import sys
from importlib import metadata

DISTRIBUTION = "session-sidecar"

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def installed_version() -> str:
    """The version of this distribution, which `pyproject.toml` alone states; `unknown` in a bare source tree."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def missing(extra: str) -> list[str]:
    """Names of the distributions that `extra` requires and that are not installed, sorted.

    A source tree without package metadata lists nothing: it cannot say what it requires.
    """
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    # Core metadata writes an extra as an environment marker (PEP 508): `name>=1; extra == "services"`.
    wanted = [line for line in requirements if re.search(rf"""extra == ["']{extra}["']""", line)]
    return sorted(name for line in wanted if (match := _NAME.match(line)) and not _installed(name := match[0]))


def require_extra(extra: str, program: str) -> None:
    """End `program` with exit code 2 and one line on stderr if `extra` is not installed completely."""
    if absent := missing(extra):
        sys.stderr.write(f"{program}: not installed: {', '.join(absent)}; run pip install '{DISTRIBUTION}[{extra}]'\n")
        raise SystemExit(2)


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
