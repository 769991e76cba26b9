"""The types of a profile's values: which texts are allowed, and which names may stand in braces in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Protocol, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationInfo

STRICT: Final = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""How every table of a profile is read: a key that is not known is an error."""

_PLACEHOLDER = re.compile(r"\{(\w*)\}")


class HasNames(Protocol):
    """What contains names in braces."""

    @property
    def names(self) -> frozenset[str]:
        """The names, without their braces."""


_Named = TypeVar("_Named", bound=HasNames)


def matching(is_allowed: Callable[[str], object], what: str) -> AfterValidator:
    """Refuse a text that is not allowed; `what` says in words what it should be."""

    def check(text: str) -> str:
        if not is_allowed(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


def parsed_by(parse: Callable[[str], object]) -> BeforeValidator:
    """Read a text by a function that may raise ValueError; any other value is refused by the type of the field."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value, json_schema_input_type=str)


def names_in(*templates: str | None) -> frozenset[str]:
    """The names in braces in some templates."""
    return frozenset(name for text in templates if text is not None for name in _PLACEHOLDER.findall(text))


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its names replaced. Raises KeyError for a name without a value."""
    return _PLACEHOLDER.sub(lambda found: values[found.group(1)], template)


def with_known_names(value: _Named, info: ValidationInfo) -> _Named:
    """Raise ValueError for a name that the profile being read does not have; its names are the validation's context."""
    if info.context is not None:
        for name in sorted(value.names - info.context):
            raise ValueError(f"{{{name}}} is unknown; allowed here: {', '.join(sorted(info.context))}")
    return value


FieldName: TypeAlias = Annotated[
    StrictStr,
    matching(re.compile(r"[A-Za-z0-9_-]+").fullmatch, "a field name: letters, digits, _ and - are allowed"),
]
HeaderName: TypeAlias = Annotated[
    StrictStr,
    matching(re.compile(r"[A-Za-z0-9-]+").fullmatch, "a header name: letters, digits and - are allowed"),
    AfterValidator(str.lower),
]
JsonPointer: TypeAlias = Annotated[
    StrictStr,
    matching(
        re.compile(r"(?:/(?:[^~/]|~[01])*)*").fullmatch,
        "a JSON Pointer: an empty text, or /key/key with ~0 for ~ and ~1 for /",
    ),
]
Path: TypeAlias = Annotated[StrictStr, matching(lambda text: text.startswith("/"), "a path: it must start with /")]
HttpStatus: TypeAlias = Annotated[StrictInt, Field(ge=100, le=599)]
