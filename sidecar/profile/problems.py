"""What is wrong with a profile: every mistake with its file, its line, its key and what is allowed there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Key = str | int
Location = tuple[Key, ...]
Schema: TypeAlias = Mapping[str, Any]
"""A JSON Schema as pydantic derives it from a class."""

_OF_KEY: Final = "[key]"
_EXTRA: Final = "unexpected_keyword_argument"
_RANGE: Final = ("greater_than_equal", "less_than_equal")
_TYPES: Final = {"string": "a string", "boolean": "true or false", "integer": "a whole number", "array": "a list"}


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


def explain(error: ErrorDetails, root: Schema) -> tuple[Location, str]:
    """Give the place of one of pydantic's errors and a sentence that follows the place's name."""
    place, schema = _follow(root, error["loc"])
    if error["type"] == _EXTRA:
        _, table = _follow(root, error["loc"][:-1])
        return place, _unknown_key(str(place[-1]), sorted(table["properties"]))
    if error["type"] == "value_error":
        return place, f": {error['ctx']['error']}"
    if error["type"] == "too_short":
        return place, " cannot be empty"
    if error["type"] in _RANGE:
        return place, f" cannot be {error['input']!r}: a status from 100 to 599 is allowed"
    allowed = _words(schema)
    if error["type"] == "missing":
        return place, f" is missing: {allowed} is needed"
    return place, f" cannot be {_written(error['input'])}: {allowed} is allowed"


def explain_all(invalid: ValidationError, root: Schema) -> Iterator[tuple[Location, str]]:
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


def _follow(root: Schema, location: Sequence[Key]) -> tuple[Location, Schema]:
    """Give the place in the TOML text that one of pydantic's locations leads to, and the schema of what stands there.

    Pydantic's locations also name the variant of a table and a key that is itself wrong; neither is a place.
    """
    place: list[Key] = []
    schema = root
    for key in location:
        if "oneOf" in schema:
            schema = root["$defs"][key]
        elif key != _OF_KEY:
            place.append(key)
            inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties") or schema.get("items")
            schema = _resolved(root, inner if isinstance(inner, Mapping) else {})
    return tuple(place), schema


def _resolved(root: Schema, schema: Schema) -> Schema:
    """The schema without references and without null, which TOML does not have."""
    while True:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            (schema,) = (choice for choice in schema["anyOf"] if choice != {"type": "null"})
        else:
            return schema


def _words(schema: Schema) -> str:
    """What a value is in TOML."""
    if "const" in schema:
        return _written(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(map(_written, schema['enum']))}"
    return _TYPES.get(schema.get("type", ""), "a table")


def _written(value: object) -> str:
    """A value as a message shows it."""
    return "true" if value is True else repr(value)
