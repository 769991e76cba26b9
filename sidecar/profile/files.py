"""Profiles as files: shipped ones by name, others by path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sidecar.profile.loading import load_profile
from sidecar.profile.problems import ProfileError
from sidecar.profile.profile import Profile

NOT_TO_RUN: Final = frozenset({"generic"})
"""Shipped profiles to start from: their paths and names belong to no real server."""

_SHIPPED: Final = Path(__file__).parent / "shipped"


def shipped_profiles() -> list[str]:
    """The names of the profiles that come with the program and can be run."""
    return sorted({path.stem for path in _SHIPPED.glob("*.toml")} - NOT_TO_RUN)


def shipped_text(name: str) -> str:
    """The TOML text of a shipped profile. Raises ProfileError for another name."""
    names = sorted({*shipped_profiles(), *NOT_TO_RUN})
    if name not in names:
        raise ProfileError([f"{name!r} is no shipped profile: {', '.join(names)} are allowed"])
    return (_SHIPPED / f"{name}.toml").read_text(encoding="utf-8")


def find_profile(name: str) -> Profile:
    """Load a shipped profile by its name, or any by the path of its file. Raises ProfileError."""
    usable = shipped_profiles()
    if name in NOT_TO_RUN:
        raise ProfileError([f"the profile {name!r} is a text to start from, not one to run: copy and change it"])
    path = _SHIPPED / f"{name}.toml" if name in usable else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise ProfileError(
            [f"{name!r} is no profile: the path of a readable file is allowed, or one of {', '.join(usable)}"]
        ) from None
    return load_profile(text, str(path))
