"""The API of a session service, as data: which requests look and create, and where answers hold id, owner and state.

The session service of this project needs one word (`style = "put"`). A foreign one is described call by call. Nothing
about it is guessed: a status that is not described says nothing of a session, and is `Unknown` or `Untrustworthy`.
"""

from __future__ import annotations

import enum
import uuid
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, StrictStr, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass

from sidecar.profile.api_call import ApiCall, Meaning
from sidecar.profile.field_types import STRICT, HeaderName, Path, parsed_by, with_known_names
from sidecar.profile.templates import JsonPath, parse_plain_path


class Style(enum.StrEnum):
    """`PUT`: one idempotent call creates or finds. `POST`: look first, then create, and look again when in doubt."""

    PUT = "put"
    POST = "post"


class At(enum.StrEnum):
    """Where the session service is: at its own address, or a part of the memory service."""

    SESSION_SERVICE = "session_service"
    UPSTREAM = "upstream"


class IdEquality(enum.StrEnum):
    """When two session ids are one: the same bytes, or spellings of the same UUID (RFC 9562, section 4)."""

    EXACT = "exact"
    UUID = "uuid"


JsonField: TypeAlias = Annotated[JsonPath, parsed_by(parse_plain_path)]


def _called_by(method: str) -> BeforeValidator:
    return BeforeValidator(lambda value: {"method": method, **value} if isinstance(value, dict) else value)


def _may_mean(*allowed: Meaning) -> AfterValidator:
    def check(call: ApiCall | None, info: ValidationInfo) -> ApiCall | None:
        if call is not None:
            with_known_names(call, info)
            for meaning in sorted(call.meanings.difference(allowed)):
                raise ValueError(f"an answer cannot mean {meaning} here; allowed: {', '.join(sorted(allowed))}")
            if not call.meanings & {Meaning.FOUND, Meaning.CREATED}:
                raise ValueError("at least one status must mean that the session is there (found or created)")
        return call

    return AfterValidator(check)


_BOTH: Final = (Meaning.FOUND, Meaning.CONFLICT, Meaning.GONE, Meaning.INVALID)
_CREATE_ONLY: Final = (Meaning.CREATED, Meaning.TAKEN, Meaning.PERHAPS)


@dataclass(frozen=True, slots=True, config=STRICT)
class SessionApi:
    """Everything that an adapter has to know about a session service.

    `id_field`, `owner_field` and `status_field` lead to the session's id, owner and state inside an answer; None means
    that answers do not carry it. `ended_values` and `deleted_values` are the states that are not active. `create` is
    None for a service that mints its own ids. `idempotent_create` says that a create call for a session that exists
    changes nothing of it, so that it needs no look before. `credentials` are the request headers, in lower case, that
    are passed on with every call. `events` is the path of the event stream and `bulk` that of ensuring many at once,
    None where there is none.
    """

    style: Style
    look: Annotated[ApiCall, _called_by("GET"), _may_mean(*_BOTH, Meaning.ABSENT)]
    id_field: JsonField
    create: Annotated[ApiCall | None, _called_by("POST"), _may_mean(*_BOTH, *_CREATE_ONLY)] = None
    owner_field: JsonField | None = None
    status_field: JsonField | None = None
    ended_values: frozenset[StrictStr] = frozenset()
    deleted_values: frozenset[StrictStr] = frozenset()
    events: Path | None = None
    bulk: Path | None = None
    at: At = At.SESSION_SERVICE
    id_equals: IdEquality = IdEquality.EXACT
    idempotent_create: bool = False
    credentials: tuple[HeaderName, ...] = ()

    @model_validator(mode="after")
    def _creates_what_was_asked_for(self) -> SessionApi:
        if self.create is not None and "session_id" not in self.create.names:
            raise ValueError("create does not contain {session_id}: the service would mint an id of its own")
        if self.bulk is not None and not self.is_default:
            raise ValueError('bulk is allowed with style = "put" alone')
        return self

    @property
    def creates_by_id(self) -> bool:
        """Whether the service can be told to create the session that is missing."""
        return self.create is not None

    @property
    def can_be_owed(self) -> bool:
        """Whether a session can be created later, without the client: credentials are never written to disk."""
        return self.creates_by_id and not self.credentials

    def canonical(self, session_id: str) -> str:
        """The spelling that stands for all: of a UUID, where `id_equals` says so, its canonical form (RFC 9562).

        Spellings are those that Python's `uuid` reads: any letter case, without hyphens, in braces, after `urn:uuid:`.
        """
        if self.id_equals is not IdEquality.UUID:
            return session_id
        try:
            return str(uuid.UUID(session_id))
        except ValueError:
            return session_id

    def same_id(self, one: str, other: str) -> bool:
        """Whether two spellings are one id to this service."""
        return self.canonical(one) == self.canonical(other)

    @property
    def is_default(self) -> bool:
        """Whether it is this project's own session service, which gives a reason with every error."""
        return self.style is Style.PUT


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
        body={"user_id": "{user_id}", "metadata": {"source": "session-sidecar"}},
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
"""The session service of this project."""


def read_session_api(value: object) -> object:
    """Turn the one word that stands for the default session service into its description. Raises ValueError."""
    if not isinstance(value, dict) or value.get("style") != Style.PUT:
        return value
    others = ", ".join(sorted(value.keys() - {"style"}))
    if others:
        raise ValueError(f'style = "put" says everything, and {others} cannot stand beside it; use style = "post"')
    return DEFAULT_API
