"""How a session service is spoken to, as data: which requests look and create, and what each status means.

Our own service needs one word (`style = "put"`). Foreign ones are described call by call; nothing about them is
guessed, and a status that nobody described says nothing of a session: an outage (`Unknown`), or `Untrustworthy`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

JsonPath: TypeAlias = tuple[str, ...]
"""The keys that lead to a value inside a JSON object."""


class Style(enum.StrEnum):
    """`PUT`: one idempotent call creates or finds. `POST`: look first, then create, and look again when in doubt."""

    PUT = "put"
    POST = "post"


class Meaning(enum.StrEnum):
    """What a status says about a session. A body that comes with it is still compared with what was asked for."""

    FOUND = "found"
    """It exists. After a create this means: made just now, or there already; the owner in the answer tells whose."""
    CREATED = "created"
    ABSENT = "absent"
    CONFLICT = "conflict"
    """It exists for somebody else; no second look is needed."""
    GONE = "gone"
    TAKEN = "taken"
    """Create only: somebody has it. Look again; what is absent even then belongs to somebody else."""
    PERHAPS = "perhaps"
    """Create only: it failed in a way that hides whether the session exists. Look again; still absent is unknown."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request to the session service.

    `path` and the strings in `query` and `body` are templates: `{session_id}`, `{user_id}` and the profile's scope
    names are replaced, in the path as one percent-encoded segment each. Where `{user_id}` is needed and the
    reference has none, a query field that consists of it is left out.
    """

    method: str
    path: str
    statuses: Mapping[int, Meaning]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SessionApi:
    """Everything that an adapter has to know about a session service.

    `id_field`, `owner_field` and `status_field` lead to the session's id, owner and state inside an answer; None
    means that answers do not carry it. `ended_values` and `deleted_values` are the states that are not active.
    `create` is None for a service that mints its own ids: it can be asked, but telling it to create would only litter
    it. `events` is the path of the event stream and `bulk` that of ensuring many at once, None where there is none.
    """

    style: Style
    look: ApiCall
    create: ApiCall | None
    id_field: JsonPath
    owner_field: JsonPath | None
    status_field: JsonPath | None = None
    ended_values: frozenset[str] = frozenset()
    deleted_values: frozenset[str] = frozenset()
    events: str | None = None
    bulk: str | None = None

    @property
    def creates_by_id(self) -> bool:
        """Whether the service can be told to create the session that is missing."""
        return self.create is not None


DEFAULT_API: Final = SessionApi(
    style=Style.PUT,
    look=ApiCall(
        method="GET",
        path="/api/v1/sessions/{session_id}",
        query={"user_id": "{user_id}"},
        statuses={200: Meaning.FOUND, 403: Meaning.CONFLICT, 404: Meaning.ABSENT, 410: Meaning.GONE},
    ),
    create=ApiCall(
        method="PUT",
        path="/api/v1/sessions/{session_id}",
        body={"user_id": "{user_id}"},
        statuses={200: Meaning.FOUND, 201: Meaning.CREATED, 409: Meaning.CONFLICT, 410: Meaning.GONE},
    ),
    id_field=("session_id",),
    owner_field=("user_id",),
    status_field=("status",),
    ended_values=frozenset({"ended"}),
    deleted_values=frozenset({"deleted"}),
    events="/api/v1/session-events",
    bulk="/api/v1/sessions:ensure",
)
"""The session service of this project, which is what the `isa` profile speaks to."""
