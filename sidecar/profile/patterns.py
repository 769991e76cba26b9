"""An answer recognised by its status and by one value of its JSON body, found with a JSON Pointer (RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass

STRICT: Final = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""How every table of a profile is read: a key that is not known is an error."""

_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_BAD_TILDE = re.compile(r"~(?![01])").search
_MISSING: Final = object()


def _pointer(text: str) -> str:
    if (text and not text.startswith("/")) or _BAD_TILDE(text):
        raise ValueError(f"{text!r} is not a JSON Pointer: an empty text, or /key/key with ~0 for ~ and ~1 for /")
    return text


JsonPointer: TypeAlias = Annotated[StrictStr, AfterValidator(_pointer)]
HttpStatus: TypeAlias = Annotated[StrictInt, Field(ge=100, le=599)]


@dataclass(frozen=True, slots=True, config=STRICT)
class ValuePattern:
    """What one value of a JSON body must be: exactly one of `equals`, `contains` and `null`.

    `equals` and `contains` are templates: `{session_id}` and the profile's other names are replaced.
    """

    at: JsonPointer
    equals: StrictStr | None = None
    contains: StrictStr | None = None
    null: bool = False

    @model_validator(mode="after")
    def _says_one_thing(self, info: ValidationInfo) -> ValuePattern:
        check_names(self.names, info)
        if (self.equals is not None) + (self.contains is not None) + self.null != 1:
            raise ValueError("exactly one of equals, contains and null = true is allowed")
        return self

    @property
    def names(self) -> frozenset[str]:
        return names_in(self.equals, self.contains)

    def matches(self, content: Any, values: Mapping[str, str]) -> bool:
        """Whether the value in a body is the one that is described; a body without such a value matches nothing."""
        value = find(content, self.at)
        if self.null:
            return value is None
        if not isinstance(value, str):
            return False
        if self.equals is not None:
            return value == filled(self.equals, values)
        return filled(self.contains or "", values) in value


@dataclass(frozen=True, slots=True, config=STRICT)
class AnswerPattern(ValuePattern):
    """An answer with this status and this value in its body."""

    status: HttpStatus = Field(kw_only=True)

    def is_met(self, status: int, content: Any, values: Mapping[str, str]) -> bool:
        return status == self.status and self.matches(content, values)


def find(content: Any, pointer: str) -> Any:
    """The value that a JSON Pointer leads to; a unique object, equal to nothing, where there is none."""
    value = content
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return _MISSING
    return value


def names_in(*templates: str | None) -> frozenset[str]:
    """The names in braces in some templates."""
    return frozenset(name for text in templates if text is not None for name in _PLACEHOLDER.findall(text))


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its names replaced. Raises KeyError for a name without a value."""
    return _PLACEHOLDER.sub(lambda found: values[found.group(1)], template)


def check_names(names: frozenset[str], info: ValidationInfo) -> None:
    """Raise ValueError for a name that the profile being read does not have; its names are the validation's context."""
    if info.context is None:
        return
    for name in sorted(names - info.context):
        raise ValueError(f"{{{name}}} is unknown; allowed here: {', '.join(sorted(info.context))}")
