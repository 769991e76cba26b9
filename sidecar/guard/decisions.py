"""The table of decisions: from what a request wants of a session and what is known of it, to admit, create or refuse.

Pure, and without a default that admits: what is not in the table is not forwarded.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from sidecar.guard.verdicts import (
    Absent,
    Conflict,
    Created,
    Found,
    Gone,
    Invalid,
    Owed,
    Unknown,
    Untrustworthy,
    Verdict,
)
from sidecar.model import RETRY_AFTER, UNOWNED, Grounds, Reason, Reference, Refusal, RuleKind, Session, SessionStatus


class OnEnded(enum.StrEnum):
    """What becomes of a write to an ended session."""

    FORWARD = "forward"
    REJECT = "reject"


class OnOutage(enum.StrEnum):
    """What becomes of a write while it is unknown whether its session exists."""

    REJECT = "reject"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings leave open. `timeout` is in seconds; it covers everything that is asked for one request."""

    timeout: float
    on_outage: OnOutage = OnOutage.REJECT
    on_ended: OnEnded = OnEnded.FORWARD


@dataclass(frozen=True, slots=True)
class Allow:
    """The decision that one call may go; a guard turns the decisions of a whole request into a permit."""

    grounds: Grounds


@dataclass(frozen=True, slots=True)
class Create:
    """The session is absent and the rule wants it made first."""


Decision: TypeAlias = Allow | Create | Refusal

LAPSED: Final = Refusal(
    Reason.OVERLOADED,
    "What is known of the session changed again and again while the write waited.",
    retry_after=RETRY_AFTER,
)
"""Refuses a request whose permit lapsed too often before it was used."""


def decide(  # noqa: PLR0911 # a table: one return for each answer
    reference: Reference, answer: Verdict | Owed, on_ended: OnEnded
) -> Decision:
    """Decide by what the session service said, or by a debt. `reference` is not of the kind `PASS`."""
    match answer:
        case Found(session):
            return decide_by_session(reference, session, Grounds.FOUND, on_ended)
        case Created(session):
            return decide_by_session(reference, session, Grounds.CREATED, on_ended)
        case Owed(owner):
            return Allow(Grounds.OWED) if owner == reference.user_id else owned_by_another(reference)
        case Absent():
            return Create() if reference.kind is RuleKind.ENSURE else _not_found(reference)
        case Conflict():
            return owned_by_another(reference)
        case Gone():
            return _gone(reference)
        case Invalid(why):
            return _refuse(Reason.INVALID_SESSION_ID, f"There can be no such session: {why}.", reference)
        case Unknown(why, retry_after):
            return _unavailable(reference, why, retry_after)
        case Untrustworthy(why):
            return _refuse(
                Reason.SESSION_SERVICE_UNTRUSTWORTHY, f"The session service cannot be trusted: {why}.", reference
            )
        case _:
            assert_never(answer)


def decide_by_session(reference: Reference, session: Session, how: Grounds, on_ended: OnEnded) -> Allow | Refusal:
    """Decide by a session that is known; a tombstone is the same for every user, its owner included."""
    if session.status is SessionStatus.DELETED:
        return _gone(reference)
    if session.owner not in (UNOWNED, reference.user_id):
        return owned_by_another(reference)
    if session.status is SessionStatus.ENDED and on_ended is OnEnded.REJECT:
        return _refuse(Reason.SESSION_ENDED, "The session has ended and takes no more writes.", reference)
    return Allow(how)


def becomes_debt(reference: Reference, decision: Decision, on_outage: OnOutage) -> bool:
    """Whether a debt is written in place of a refusal: the outage is forwarded.

    A session that a rule only requires is not created, neither now nor later.
    """
    is_outage = isinstance(decision, Refusal) and decision.reason is Reason.SESSION_SERVICE_UNAVAILABLE
    return is_outage and on_outage is OnOutage.FORWARD and reference.kind is RuleKind.ENSURE


def cannot_create(reference: Reference) -> Refusal:
    """Refuse a write to a session that is missing and that the session service cannot create under its id."""
    return _refuse(
        Reason.SESSION_NOT_FOUND, "There is no such session, and the session service cannot create it.", reference
    )


def owned_by_another(reference: Reference) -> Refusal:
    """Refuse a write to a session that is another user's."""
    return _refuse(Reason.SESSION_OWNED_BY_ANOTHER_USER, "The session belongs to another user.", reference)


def forgotten(reference: Reference) -> Refusal:
    """Refuse a write to a session that was known when it was admitted, and no longer is."""
    return _unavailable(reference, "something happened to it while the request was decided", None)


def _gone(reference: Reference) -> Refusal:
    return _refuse(Reason.SESSION_GONE, "The session was deleted, and a write does not bring it back.", reference)


def _not_found(reference: Reference) -> Refusal:
    return _refuse(
        Reason.SESSION_NOT_FOUND, "There is no such session, and this request does not create one.", reference
    )


def _unavailable(reference: Reference, why: str, retry_after: int | None) -> Refusal:
    return Refusal(
        Reason.SESSION_SERVICE_UNAVAILABLE,
        f"It cannot be determined now whether the session exists: {why}.",
        reference.session_id,
        RETRY_AFTER if retry_after is None else retry_after,
    )


def _refuse(reason: Reason, detail: str, reference: Reference) -> Refusal:
    return Refusal(reason, detail, reference.session_id)
