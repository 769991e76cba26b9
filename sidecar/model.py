"""The values that all rooms share: immutable, comparable, free of I/O.

The extractor makes an `Extraction` of a request; its calls name the sessions that it writes to.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mypy_extensions import mypyc_attr

from sidecar.profile.rules import RuleKind as RuleKind  # noqa: PLC0414 # a word of this vocabulary too

UNOWNED: Final = ""
"""The owner of a session that belongs to no user, so that every user may write to it. No user id is empty."""

SessionKey: TypeAlias = str | tuple[str, ...]
"""What a session is known under: its id alone, or (scope…, id) where the profile scopes ids."""

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Header fields in the order they came, names in lower case, duplicates kept."""


class SessionStatus(enum.StrEnum):
    """The state of a session; `DELETED` is a tombstone."""

    ACTIVE = "active"
    ENDED = "ended"
    DELETED = "deleted"


class Reason(enum.StrEnum):
    """Why a request was refused: the codes that clients see."""

    SESSION_OWNED_BY_ANOTHER_USER = "session_owned_by_another_user"
    SESSION_NOT_FOUND = "session_not_found"
    SESSION_GONE = "session_gone"
    SESSION_ENDED = "session_ended"
    SESSION_SERVICE_UNAVAILABLE = "session_service_unavailable"
    SESSION_SERVICE_UNTRUSTWORTHY = "session_service_untrustworthy"
    USER_ID_REQUIRED = "user_id_required"
    SESSION_ID_REQUIRED = "session_id_required"
    INVALID_SESSION_ID = "invalid_session_id"
    INVALID_USER_ID = "invalid_user_id"
    AMBIGUOUS_SESSION = "ambiguous_session"
    AMBIGUOUS_PATH = "ambiguous_path"
    UNREADABLE_BODY = "unreadable_body"
    BATCH_REFUSED = "batch_refused"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    OVERLOADED = "overloaded"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    UPSTREAM_TIMEOUT = "upstream_timeout"


# Four constructors are written out: the ones that `dataclass` makes are not compiled, and these run for each request.
# What leads back to nothing that holds it (`acyclic`), the garbage collector need not know of in the compiled build.


@dataclass(init=False, slots=True, unsafe_hash=True)
class Head:
    """The head of a request as it stood on the wire.

    `target` is the request target byte for byte (origin-form, absolute-form or `*`); header names are lower case.
    """

    method: str
    target: bytes
    headers: Headers

    def __init__(self, method: str, target: bytes, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Credentials:
    """Header fields of a request that are passed on to the session service, and a keyed digest that stands for them."""

    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False, compare=False)
    digest: str


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True, unsafe_hash=True)
class Reference:
    """This request writes to session `session_id` for `user_id`.

    `user_id` is None only where the profile's sessions have no owner. `key` is what the session is cached, counted and
    single-flighted under.
    """

    session_id: str
    user_id: str | None
    kind: RuleKind
    scope: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = field(compare=False)
    credentials: Credentials | None
    key: SessionKey = field(init=False, compare=False, repr=False)

    def __init__(  # noqa: PLR0917 # the fields, in their order
        self,
        session_id: str,
        user_id: str | None,
        kind: RuleKind = RuleKind.ENSURE,
        scope: tuple[str, ...] = (),
        variables: tuple[tuple[str, str], ...] = (),
        credentials: Credentials | None = None,
    ) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.kind = kind
        self.scope = scope
        self.variables = variables
        self.credentials = credentials
        if credentials is not None:
            self.key = (credentials.digest, *scope, session_id)
        else:
            self.key = (*scope, session_id) if scope else session_id

    def asks_like(self, other: Reference) -> bool:
        """Whether the session service is asked the same about this session as for another reference to it."""
        return self.user_id == other.user_id and self.variables == other.variables


RETRY_AFTER: Final = 1
"""Seconds after which a client may try again where the session service names none."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request must not be forwarded. `detail` is one sentence for a person; `retry_after` is in seconds."""

    reason: Reason
    detail: str
    session_id: str | None = None
    retry_after: int | None = None


BODY_LATE: Final = Refusal(Reason.BODY_TIMEOUT, "The rest of the request body did not come in time.")
"""Refuses a request whose body stopped coming, for every part of the sidecar that reads bodies."""


class Grounds(enum.StrEnum):
    """On what ground a request was admitted; these are also the values of `X-Sidecar-Session`."""

    PASSED = "passed"
    KNOWN = "known"
    FOUND = "found"
    CREATED = "created"
    OWED = "owed"


@dataclass(frozen=True, slots=True)
class Refusals:
    """None of a request's calls may be forwarded.

    `refusals` has one place for each call, in order, and at least one of them is a `Refusal`. A place is None where
    that call alone would have been permitted: it is refused with its batch (`batch_refused`).
    """

    refusals: tuple[Refusal | None, ...]


class RefusalFormat(enum.Enum):
    """How a refusal of this request has to be written."""

    REST = "rest"
    RPC = "rpc"
    BATCH = "batch"


class Notification(enum.Enum):
    """Stands where a JSON-RPC id would be: the call expects no answer."""

    NOTIFICATION = "notification"


RpcId: TypeAlias = str | int | float | Notification | None
NOTIFICATION: Final = Notification.NOTIFICATION


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True, unsafe_hash=True)
class Call:
    """One unit that is decided and, if need be, refused by itself: a REST request, or a call of an MCP message.

    At most one of `reference` and `refusal` is set; with neither, there is nothing to guard.
    """

    reference: Reference | None
    refusal: Refusal | None
    rpc_id: RpcId

    def __init__(
        self, reference: Reference | None = None, refusal: Refusal | None = None, rpc_id: RpcId = None
    ) -> None:
        self.reference = reference
        self.refusal = refusal
        self.rpc_id = rpc_id


@mypyc_attr(acyclic=True)
@dataclass(init=False, slots=True, unsafe_hash=True)
class Extraction:
    """The calls of one request.

    An RPC extraction has exactly one call, a REST extraction at least one, for each session that its body names.
    """

    refusal_format: RefusalFormat
    calls: tuple[Call, ...]

    def __init__(self, refusal_format: RefusalFormat, calls: tuple[Call, ...]) -> None:
        self.refusal_format = refusal_format
        self.calls = calls


@dataclass(frozen=True, slots=True)
class Session:
    """What the session service says of a session.

    `owner` is None where sessions have no owner, and `UNOWNED` where only this one has none.
    """

    owner: str | None
    status: SessionStatus
