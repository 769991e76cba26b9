"""One call of a session service, as data: how the request is written, and what each answer means."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, StrictStr
from pydantic.dataclasses import dataclass

from sidecar.profile.answer_pattern import AnswerPattern
from sidecar.profile.field_types import STRICT, HttpStatus, Path, names_in


class Meaning(enum.StrEnum):
    """What a status says about a session. A body that comes with it is still compared with what was asked for."""

    FOUND = "found"
    """It exists. After a create this means: made just now, or there already; the answer names the owner."""
    CREATED = "created"
    ABSENT = "absent"
    CONFLICT = "conflict"
    """It exists for another user; no second look is needed."""
    GONE = "gone"
    TAKEN = "taken"
    """Create only: the id is taken. Look again; what is absent even then belongs to another user."""
    PERHAPS = "perhaps"
    """Create only: it failed in a way that hides whether the session exists. Look again; still absent is unknown."""
    INVALID = "invalid"
    """The service refuses the id itself: it can never exist."""


def _by_status(value: object) -> object:
    """Turn `{meaning: [status, …]}`, as a profile writes it, into one meaning for each status."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return value
    statuses: dict[object, object] = {}
    for meaning, listed in value.items():
        if meaning not in list(Meaning):
            raise ValueError(f"{meaning} is unknown; allowed here: {', '.join(sorted(Meaning))}")
        if not isinstance(listed, list) or not all(type(status) is int for status in listed):
            raise ValueError(f"{meaning} cannot be {listed!r}: a list of whole numbers is allowed")
        for status in listed:
            if status in statuses or not 100 <= status <= 599:
                raise ValueError(f"{meaning} cannot be {status}: statuses from 100 to 599, each with one meaning")
            statuses[status] = Meaning(meaning)
    return statuses


Statuses: TypeAlias = Annotated[Mapping[HttpStatus, Meaning], BeforeValidator(_by_status)]


@dataclass(frozen=True, slots=True, config=STRICT, kw_only=True)
class BodyMeaning(AnswerPattern):
    """An answer that differs by its body from others with the same status."""

    means: Meaning


@dataclass(frozen=True, slots=True, config=STRICT)
class ApiCall:
    """One request to the session service.

    `path` and the strings in `query`, `headers` and `body` are templates: `{session_id}`, `{user_id}` and the names of
    the profile's scope and variables are replaced, in the path as one percent-encoded segment each. A field of `query`,
    `headers` or `body` that is nothing but a name is left out where the name has no value. The first of `bodies` that
    an answer matches says what it means; otherwise its status does.
    """

    method: StrictStr
    path: Path
    statuses: Statuses
    query: Mapping[str, StrictStr] = Field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, StrictStr] = Field(default_factory=dict)
    bodies: tuple[BodyMeaning, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names in its templates."""
        return names_in(self.path, *self.query.values(), *self.headers.values(), *_strings(self.body)).union(
            *(body.names for body in self.bodies)
        )

    @property
    def meanings(self) -> frozenset[Meaning]:
        """What its answers may mean."""
        return frozenset(self.statuses.values()).union(body.means for body in self.bodies)


def _strings(value: object) -> Iterator[str]:
    """Every string inside a body, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(inner)
