"""Profiles as files: shipped ones by name, others by path. What they mean is the core's business."""

from __future__ import annotations

from pathlib import Path

from sidecar.profile.profile import Profile, load_profile
from sidecar.profile.tables import ProfileError

__all__ = ["Profile", "ProfileError", "find_profile", "shipped_profiles"]

_SHIPPED = Path(__file__).parent / "shipped"


def shipped_profiles() -> list[str]:
    """The names of the profiles that come with the program."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def find_profile(name: str) -> Profile:
    """Load a shipped profile by its name, or any by the path of its file. Raises ProfileError."""
    path = _SHIPPED / f"{name}.toml" if name in shipped_profiles() else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise ProfileError(
            f"{name!r} is no profile: the path of a readable file is allowed, or one of {', '.join(shipped_profiles())}"
        ) from None
    try:
        return load_profile(text)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from None
