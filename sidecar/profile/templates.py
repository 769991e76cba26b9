"""Patterns of profiles: path templates, JSON paths and globs, and whether one covers all that another matches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

Segments: TypeAlias = tuple[str, ...]
"""The decoded segments of a path."""
JsonPath: TypeAlias = tuple[str, ...]
"""The keys that lead to a value inside a JSON object."""

ONE: Final = "*"
REST: Final = "**"
EACH: Final = "[]"
"""In a JSON path: every element of the list that the keys before it lead to."""
_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}").fullmatch
_JSON_PATH = re.compile(r"[A-Za-z0-9_-]+(?:\[\])?(?:\.[A-Za-z0-9_-]+(?:\[\])?)*").fullmatch


@dataclass(frozen=True, slots=True)
class Template:
    """A path pattern, cut at its slashes.

    A segment is a literal, `{name}` (one segment, captured), `*` (one segment) or, at the end only, `**` (one or
    more segments).
    """

    segments: Segments

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for segment in self.segments if (name := captured_name(segment)))

    def match(self, segments: Segments, *, exact: bool) -> Mapping[str, str] | None:
        """What the template captures from a path's decoded segments, or None where it does not match.

        Literals are compared without regard to case, because some routers do so; `exact` compares them as written.
        """
        own = self.segments
        if own and own[-1] == REST:
            own = own[:-1]
            if len(segments) <= len(own):
                return None
        elif len(segments) != len(own):
            return None
        captured: dict[str, str] = {}
        for pattern, segment in zip(own, segments, strict=False):
            name = captured_name(pattern)
            if name:
                captured[name] = segment
            elif pattern not in (ONE, segment) and (exact or pattern.casefold() != segment.casefold()):
                return None
        return captured

    def may_start_with(self, prefix: Segments) -> bool:
        """Whether some path that the template matches lies at or below a literal prefix."""
        for place, segment in enumerate(prefix):
            own = self.segments[place] if place < len(self.segments) else ""
            if own == REST:
                return True
            if own != ONE and not captured_name(own) and own.casefold() != segment.casefold():
                return False
        return True

    def covers(self, other: Template) -> bool:
        """Whether every path that `other` matches is matched by this one too."""
        mine, theirs = self.segments, other.segments
        if mine and mine[-1] == REST:
            mine = mine[:-1]
            # `other` must have at least one segment where this one's rest begins, be it a rest of its own.
            if len(theirs) <= len(mine):
                return False
        elif len(mine) != len(theirs) or (theirs and theirs[-1] == REST):
            return False
        return all(_covers_segment(one, two) for one, two in zip(mine, theirs, strict=False))

    def __str__(self) -> str:
        return "/" + "/".join(self.segments)


def parse_template(text: str) -> Template:
    """Read a template. Raises ValueError with what is allowed."""
    if not text.startswith("/") or text == "/":
        raise ValueError(f"{text!r} is not a path template: it must start with / and have at least one segment")
    segments = tuple(text[1:].split("/"))
    for place, segment in enumerate(segments):
        _check_segment(text, segment, last=place == len(segments) - 1)
    names = [name for segment in segments if (name := captured_name(segment))]
    if len(names) != len(set(names)):
        raise ValueError(f"{text!r} is not a path template: it captures one name twice")
    return Template(segments)


def captured_name(segment: str) -> str | None:
    """The name in `{name}`, or None for a segment that captures nothing."""
    found = _NAME(segment)
    return found.group(1) if found else None


def parse_json_path(text: str) -> JsonPath:
    """Read the keys that lead to a value: `a.b`, or `a[].b` for every element of a list, where `EACH` follows `a`.

    Raises ValueError with what is allowed.
    """
    if not _JSON_PATH(text):
        raise ValueError(
            f"{text!r} is not a JSON path: field names with dots between them are allowed, each perhaps with [] behind"
        )
    steps = text.replace(EACH, f".{EACH}")
    return tuple(steps.split("."))


def parse_plain_path(text: str) -> JsonPath:
    """Read a JSON path that leads to one value. Raises ValueError."""
    path = parse_json_path(text)
    if EACH in path:
        raise ValueError(f"{text!r} leads to many values: a JSON path without [] is allowed")
    return path


def compile_globs(globs: Iterable[str]) -> re.Pattern[str]:
    """One expression that matches, as a whole, what any of the globs matches; `*` stands for any text."""
    return re.compile("|".join(".*".join(map(re.escape, glob.split("*"))) for glob in globs) or r"(?!)", re.DOTALL)


def glob_covers(one: str, other: str) -> bool:
    """Whether every text that glob `other` matches is matched by glob `one` too.

    The star of `other` is taken as if it were a character: since nothing but a star of `one` can match it, a match
    then means that any text in its place matches as well.
    """
    return compile_globs([one]).fullmatch(other) is not None


def _check_segment(text: str, segment: str, *, last: bool) -> None:
    if segment in (ONE, REST):
        if segment == REST and not last:
            raise ValueError(f"{text!r} is not a path template: ** may only stand at the end")
    elif not segment or segment in (".", ".."):
        raise ValueError(f"{text!r} is not a path template: its segments may not be empty, . or ..")
    elif re.search(r"[{}*%\\?#;]", segment) and not captured_name(segment):
        raise ValueError(f"{text!r} is not a path template: {segment!r} is neither literal text nor {{name}}, * or **")


def _covers_segment(mine: str, theirs: str) -> bool:
    return mine == ONE or captured_name(mine) is not None or mine.casefold() == theirs.casefold()
