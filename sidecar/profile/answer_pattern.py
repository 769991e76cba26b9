"""An answer recognised by its status and by one value of its JSON body, found with a JSON Pointer (RFC 6901)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, StrictStr, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass

from sidecar.profile.field_types import STRICT, HttpStatus, JsonPointer, filled, names_in, with_known_names

_MISSING: Final = object()


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
        with_known_names(self, info)
        if (self.equals is not None) + (self.contains is not None) + self.null != 1:
            raise ValueError("exactly one of equals, contains and null = true is allowed")
        return self

    @property
    def names(self) -> frozenset[str]:
        return names_in(self.equals, self.contains)


@dataclass(frozen=True, slots=True, config=STRICT)
class AnswerPattern(ValuePattern):
    """An answer with this status and this value in its body."""

    status: HttpStatus = Field(kw_only=True)

    def is_met(self, status: int, content: Any, values: Mapping[str, str]) -> bool:
        """Whether an answer is the one that is described.

        `values` are those of the profile's names. An answer without a value there, and a pattern with a name that has
        no value, match nothing.
        """
        if status != self.status or not self.names <= values.keys():
            return False
        value = _find(content, self.at)
        if self.null:
            return value is None
        if not isinstance(value, str):
            return False
        if self.equals is not None:
            return value == filled(self.equals, values)
        return filled(self.contains or "", values) in value


def _find(content: Any, pointer: str) -> Any:
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
