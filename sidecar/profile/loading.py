"""Profiles as files: shipped ones by name, others by path. All mistakes of one are reported at once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from sidecar.profile.lines import Lines
from sidecar.profile.problems import Problem, ProfileError, dotted, explain_all
from sidecar.profile.profile import Profile, names_of

NOT_TO_RUN: Final = frozenset({"generic"})
"""Shipped profiles to start from: their paths and names belong to no real server."""

_SHIPPED: Final = Path(__file__).parent / "shipped"
_SHAPE: Final = TypeAdapter(Profile)
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


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


def load_profile(text: str, file: str = "profile") -> Profile:
    """Read a profile from its TOML text; `file` stands in messages. Raises ProfileError with every mistake."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError([_not_toml(file, str(error), text)]) from None
    lines = Lines(text)
    try:
        profile = _SHAPE.validate_python(content, context=names_of(content))
    except ValidationError as invalid:
        explained = explain_all(invalid, _SHAPE.json_schema())
        problems = [Problem(file, lines.line(at), dotted(at), said) for at, said in explained]
        problems.sort(key=lambda problem: (problem.line, problem.key))
        raise ProfileError(problems) from None
    # Where the profile and its rules stand is known only now.
    object.__setattr__(profile, "file", file)
    for number, rule in enumerate(profile.rules):
        object.__setattr__(rule, "line", lines.line(("rules", number)))
    return profile


def _not_toml(file: str, said: str, text: str) -> Problem:
    at = _AT.search(said)
    line = int(at[1]) if at and at[1] else text.count("\n") + 1
    column = f" at column {at[2]}" if at and at[2] else ""
    return Problem(file, line, "", f"not TOML: {_AT.sub('', said)}{column}")
