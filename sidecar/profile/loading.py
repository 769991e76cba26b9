"""Reading a profile: TOML, then its shape. All mistakes of the shape are reported at once."""

from __future__ import annotations

import re
import tomllib
from typing import Final

from pydantic import TypeAdapter, ValidationError

from sidecar.profile.lines import Lines
from sidecar.profile.problems import Problem, ProfileError, dotted, explain_all
from sidecar.profile.profile import Profile, names_of

_SHAPE: Final = TypeAdapter(Profile)
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


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
    _place(profile, file, lines)
    return profile


def _not_toml(file: str, said: str, text: str) -> Problem:
    at = _AT.search(said)
    line = int(at[1]) if at and at[1] else text.count("\n") + 1
    column = f" at column {at[2]}" if at and at[2] else ""
    return Problem(file, line, "", f"not TOML: {_AT.sub('', said)}{column}")


def _place(profile: Profile, file: str, lines: Lines) -> None:
    """Note where the profile and its rules stand; both are complete only now."""
    object.__setattr__(profile, "file", file)
    for number, rule in enumerate(profile.rules):
        object.__setattr__(rule, "line", lines.line(("rules", number)))
