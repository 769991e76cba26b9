"""For each kind of problem: what it means and what to do. The dashboard and the runbook show the same sentences."""

from __future__ import annotations

from typing import Final, NamedTuple

from sidecar.model import Reason


class Remedy(NamedTuple):
    """Two sentences for an operator."""

    means: str
    do: str


UNGUARDED_WRITE: Final = "unguarded_session_write"
DEBT_CONFLICT: Final = "debt_conflict"

REMEDIES: Final[dict[str, Remedy]] = {
    Reason.SESSION_OWNED_BY_ANOTHER_USER: Remedy(
        "A write names a session that belongs to another user.",
        "Correct the client that reuses the id. Many of them at once mean that clients share one id, or an attack.",
    ),
    Reason.SESSION_NOT_FOUND: Remedy(
        "A rule requires the session to exist, and it does not.",
        "Have the client create the session first, or make the rule `ensure` in the profile.",
    ),
    Reason.SESSION_GONE: Remedy(
        "The session was deleted, and a client still writes to it.",
        "Have the client begin a new session. The sidecar never brings a deleted one back.",
    ),
    Reason.SESSION_ENDED: Remedy(
        "The session has ended, and `SIDECAR_ON_ENDED` is `reject`.",
        "Have the client begin a new session, or set `SIDECAR_ON_ENDED=forward`.",
    ),
    Reason.SESSION_SERVICE_UNAVAILABLE: Remedy(
        "The session service gives no usable answer, and the session is not cached.",
        "Restore the session service. The sidecar finds it again by itself. For a long outage, see "
        "`SIDECAR_ON_OUTAGE=forward`.",
    ),
    Reason.SESSION_SERVICE_UNTRUSTWORTHY: Remedy(
        "The session service answered with another id or owner than was asked for, or with no session.",
        "Correct `SIDECAR_SESSION_SERVICE` or the profile, or take the cache between the two away; then restart.",
    ),
    Reason.USER_ID_REQUIRED: Remedy(
        "A guarded write names no user.",
        "Have the client, or the gateway, name the user.",
    ),
    Reason.SESSION_ID_REQUIRED: Remedy(
        "A write of a kind that belongs to a session names none.",
        "Have the client name the session.",
    ),
    Reason.INVALID_SESSION_ID: Remedy(
        "A session id is no string, or outside the grammar of `SIDECAR_ID_FORMAT`.",
        "Correct the client's ids, or set `SIDECAR_ID_FORMAT=opaque`.",
    ),
    Reason.INVALID_USER_ID: Remedy(
        "A user id is no string, or outside the grammar of `SIDECAR_ID_FORMAT`.",
        "Correct the client's ids, or set `SIDECAR_ID_FORMAT=opaque`.",
    ),
    Reason.AMBIGUOUS_SESSION: Remedy(
        "Two places of one request name different sessions or users, or a key is there twice.",
        "Correct the client. Many of them from one client may be an attempt to get round the guard.",
    ),
    Reason.AMBIGUOUS_PATH: Remedy(
        "A path can be read in two ways: encoded slashes, dot segments, doubled slashes.",
        "Have the client send the path plainly. Many of them may be an attempt to get round the guard.",
    ),
    Reason.UNREADABLE_BODY: Remedy(
        "The body of a guarded write is not strict JSON or a declared form.",
        "Correct the client. Where the memory service takes other formats there, change the profile.",
    ),
    Reason.BATCH_REFUSED: Remedy(
        "Another call of the same MCP batch was refused, which refuses the whole batch.",
        "Act on that refusal; this one needs nothing.",
    ),
    Reason.UNSUPPORTED_ENCODING: Remedy(
        "The body of a guarded write has a content coding that the sidecar does not decode.",
        "Have the client send gzip, deflate, br, zstd or no coding.",
    ),
    Reason.BODY_TOO_LARGE: Remedy(
        "The body of a guarded write is over `SIDECAR_MAX_BODY`.",
        "Have the client send less, or raise `SIDECAR_MAX_BODY`.",
    ),
    Reason.BODY_TIMEOUT: Remedy(
        "A request body stopped coming for `SIDECAR_BODY_TIMEOUT`.",
        "Nothing, if it is rare. A slow network needs a longer `SIDECAR_BODY_TIMEOUT`.",
    ),
    Reason.OVERLOADED: Remedy(
        "`SIDECAR_MAX_BUFFERED` is reached, or no upstream connection came free.",
        "Find out what makes the memory service slow; raise the limit, or run more sidecars.",
    ),
    Reason.UPSTREAM_UNAVAILABLE: Remedy(
        "The memory service refused or broke a connection. Whether it stored the write is unknown.",
        "Restore the memory service. If only idle connections break, set `SIDECAR_UPSTREAM_IDLE` below its time-out.",
    ),
    Reason.UPSTREAM_TIMEOUT: Remedy(
        "The memory service did not begin to answer in `SIDECAR_UPSTREAM_TIMEOUT`. Whether it stored the write is "
        "unknown.",
        "Find out what makes it slow. Calls that are slow by nature need a longer `SIDECAR_UPSTREAM_TIMEOUT`.",
    ),
    UNGUARDED_WRITE: Remedy(
        "A write passed although a name that the profile watches stands in it: the profile may not fit.",
        "Add a rule for the path to the profile: `ensure`, or `pass` if the name means something else there.",
    ),
    DEBT_CONFLICT: Remedy(
        "A session owed from an outage belongs to another user or was deleted; its writes are stored already.",
        "Decide what becomes of those memories. Further writes of that user to the session are refused.",
    ),
}
