"""What is wrong with a profile: every mistake with its file, its line, its key and what is allowed there."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Key = str | int
Location = tuple[Key, ...]

TAG_END: Final = " variant"
"""Ends the name of a variant of a table, which pydantic puts among the keys of a location."""

_OF_KEY: Final = "[key]"
_EXTRA: Final = "unexpected_keyword_argument"
_RANGE: Final = ("greater_than_equal", "less_than_equal")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` counts from 1; `key` is written as TOML's dotted keys are."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}{self.text}"


class ProfileError(ValueError):
    """A profile that cannot be used. The message has one line for each of the `problems`."""

    def __init__(self, problems: Sequence[object]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def explain(error: ErrorDetails, root: type) -> tuple[Location, str]:
    """Give the place of one of pydantic's errors and a sentence that follows the place's name."""
    location = error["loc"]
    place = tuple(key for key in location if not (isinstance(key, str) and (key.endswith(TAG_END) or key == _OF_KEY)))
    if error["type"] == _EXTRA:
        return place, _unknown_key(str(place[-1]), _keys(_type_at(root, location[:-1])))
    if error["type"] == "value_error":
        return place, f": {error['ctx']['error']}"
    if error["type"] == "too_short":
        return place, " cannot be empty"
    if error["type"] in _RANGE:
        return place, f" cannot be {error['input']!r}: a status from 100 to 599 is allowed"
    allowed = _words(_type_at(root, location))
    if error["type"] == "missing":
        return place, f" is missing: {allowed} is needed"
    return place, f" cannot be {_written(error['input'])}: {allowed} is allowed"


def explain_all(invalid: ValidationError, root: type) -> Iterator[tuple[Location, str]]:
    """Explain every error of a validation but those that only follow from another one."""
    errors = invalid.errors(include_url=False)
    return (explain(error, root) for error in errors if not (error["type"] == "too_short" and error["input"]))


def dotted(location: Location) -> str:
    """A location as TOML's dotted keys are written, with `[n]` for the n-th element of a list."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)
    return text.removeprefix(".")


def _unknown_key(key: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.6)
    guess = f"did you mean {near[0]}? " if near else ""
    return f" is unknown: {guess}allowed here: {', '.join(allowed)}"


def _keys(kind: Any) -> list[str]:
    """The keys of the table that is read into a dataclass."""
    return sorted(_alias(field) for field in dataclasses.fields(kind) if field.init) if _is_table(kind) else []


def _alias(field: dataclasses.Field[Any]) -> str:
    return str(getattr(field.default, "validation_alias", None) or field.name)


def _type_at(root: Any, location: Sequence[Key]) -> Any:
    """The annotation of the value at a location."""
    kind = root
    for key in location:
        if isinstance(key, str) and key.endswith(TAG_END):
            kind = next(choice for choice in _choices(kind) if _tag(choice) == key)
        elif _is_table(kind):
            names = {_alias(field): field.name for field in dataclasses.fields(kind)}
            if key not in names:
                return object
            kind = typing.get_type_hints(kind, include_extras=True)[names[str(key)]]
        else:
            kind = _inner(kind)
        kind = _unwrapped(kind)
    return kind


def _unwrapped(kind: Any) -> Any:
    """The annotation without `Annotated` and `None`; a choice between variants stays whole."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind, *more = typing.get_args(kind)
            if any(getattr(item, "json_schema_input_type", None) is str for item in more):
                return str
        elif len(choices := [choice for choice in _choices(kind) if choice is not types.NoneType]) == 1:
            kind = choices[0]
        else:
            return kind


def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else ()


def _tag(choice: Any) -> str:
    return next((item.tag for item in getattr(choice, "__metadata__", ()) if hasattr(item, "tag")), "")


def _inner(kind: Any) -> Any:
    """The annotation of an element of a list or of a value in a table with free keys."""
    arguments = [argument for argument in typing.get_args(kind) if argument is not Ellipsis]
    return arguments[-1] if arguments else object


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _words(kind: Any) -> str:
    """What a value of the type is in TOML."""
    origin = typing.get_origin(kind) or kind
    if origin is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        choices = typing.get_args(kind) or list(kind)
        return ("one of " if len(choices) > 1 else "") + ", ".join(map(_written, choices))
    if origin in (tuple, frozenset):
        return "a list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table"
    return {str: "a string", bool: "true or false", int: "a whole number"}.get(origin, "a table")


def _written(value: object) -> str:
    """A value as a message shows it."""
    return "true" if value is True else repr(value.value if isinstance(value, enum.Enum) else value)
