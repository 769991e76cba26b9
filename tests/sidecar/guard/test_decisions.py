"""The table of decisions, written out a second time and compared cell by cell."""

from __future__ import annotations

import itertools

import pytest

from sidecar.guard.decisions import Allow, Create, OnEnded, cannot_create, decide, decide_by_session, owned_by_another
from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone, Owed, Unknown, Untrustworthy
from sidecar.model import UNOWNED, Grounds, Reason, Reference, Refusal, RuleKind, Session, SessionStatus

ANN = Reference("s-1", "ann")
ANN_REQUIRES = Reference("s-1", "ann", RuleKind.REQUIRE)


def outcome(decision: Allow | Create | Refusal) -> str:
    """A decision in one word."""
    match decision:
        case Allow(how):
            return how.value
        case Refusal(reason):
            return reason.value
        case Create():
            return "create"


def session(owner: str | None, status: SessionStatus = SessionStatus.ACTIVE) -> Session:
    return Session(owner, status)


SAME_FOR_BOTH_KINDS = [
    (Conflict(), "session_owned_by_another_user"),
    (Gone(), "session_gone"),
    (Unknown("why"), "session_service_unavailable"),
    (Untrustworthy("why"), "session_service_untrustworthy"),
    (Owed("ann"), "owed"),
    (Owed("bob"), "session_owned_by_another_user"),
    (Owed(None), "session_owned_by_another_user"),
]


@pytest.mark.parametrize("reference", [ANN, ANN_REQUIRES])
@pytest.mark.parametrize("on_ended", OnEnded)
@pytest.mark.parametrize(("answer", "expected"), SAME_FOR_BOTH_KINDS)
def test_what_an_answer_decides_for_every_kind(reference, on_ended, answer, expected):
    """These answers decide alike under every kind of rule and every policy for ended sessions."""
    assert outcome(decide(reference, answer, on_ended)) == expected


def test_an_absent_session_is_created_only_where_the_rule_ensures():
    """An absent session is created under `ensure` and not found under `require`."""
    assert decide(ANN, Absent(), OnEnded.FORWARD) == Create()
    assert outcome(decide(ANN_REQUIRES, Absent(), OnEnded.FORWARD)) == "session_not_found"


@pytest.mark.parametrize(
    ("owner", "status", "on_ended", "expected"),
    [
        ("ann", SessionStatus.ACTIVE, OnEnded.FORWARD, None),
        ("ann", SessionStatus.ACTIVE, OnEnded.REJECT, None),
        ("ann", SessionStatus.ENDED, OnEnded.FORWARD, None),
        ("ann", SessionStatus.ENDED, OnEnded.REJECT, "session_ended"),
        *[
            (owner, SessionStatus.DELETED, policy, "session_gone")
            for owner, policy in itertools.product(["ann", "bob", None], OnEnded)
        ],
        *[
            (owner, status, policy, "session_owned_by_another_user")
            for owner, status, policy in itertools.product(
                ["bob", None, "Ann"], [SessionStatus.ACTIVE, SessionStatus.ENDED], OnEnded
            )
        ],
    ],
)
def test_what_a_session_decides(owner, status, on_ended, expected):
    """A tombstone refuses every user, an owner every other user, an end only where the policy says so."""
    known = session(owner, status)
    for how in Grounds:
        assert outcome(decide_by_session(ANN, known, how, on_ended)) == (expected or how.value)
    assert outcome(decide(ANN, Found(known), on_ended)) == (expected or "found")
    assert outcome(decide(ANN, Created(known), on_ended)) == (expected or "created")


def test_a_session_without_an_owner_admits_a_request_without_a_user():
    """Where sessions have no owner, a session with one is another user's."""
    ownerless = Reference("s-1", None)
    assert decide(ownerless, Found(session(None)), OnEnded.FORWARD) == Allow(Grounds.FOUND)
    assert outcome(decide(ownerless, Found(session("ann")), OnEnded.FORWARD)) == "session_owned_by_another_user"


@pytest.mark.parametrize(
    ("answer", "reference", "reason", "detail"),
    [
        (Gone(), ANN, Reason.SESSION_GONE, "The session was deleted, and a write does not bring it back."),
        (Conflict(), ANN, Reason.SESSION_OWNED_BY_ANOTHER_USER, "The session belongs to another user."),
        (
            Absent(),
            ANN_REQUIRES,
            Reason.SESSION_NOT_FOUND,
            "There is no such session, and this request does not create one.",
        ),
        (
            Found(session("ann", SessionStatus.ENDED)),
            ANN,
            Reason.SESSION_ENDED,
            "The session has ended and takes no more writes.",
        ),
        (
            Untrustworthy("it said so"),
            ANN,
            Reason.SESSION_SERVICE_UNTRUSTWORTHY,
            "The session service cannot be trusted: it said so.",
        ),
    ],
)
def test_a_refusal_says_why_in_one_sentence_and_names_the_session(answer, reference, reason, detail):
    """The detail is one sentence, and no retry is suggested where it would not help."""
    assert decide(reference, answer, OnEnded.REJECT) == Refusal(reason, detail, "s-1", None)


def test_what_the_guard_finds_out_by_itself_is_said_the_same_way():
    """A refusal that no answer stands for has the same reason and detail."""
    assert owned_by_another(ANN) == decide(ANN, Conflict(), OnEnded.FORWARD)
    assert cannot_create(ANN) == Refusal(
        Reason.SESSION_NOT_FOUND, "There is no such session, and the session service cannot create it.", "s-1"
    )


@pytest.mark.parametrize(("told", "passed_on"), [(None, 1), (7, 7), (0, 0)])
def test_an_outage_says_when_to_try_again(told, passed_on):
    """`Retry-After` of the session service is passed on, and is a second where there is none."""
    assert decide(ANN, Unknown("it is away", told), OnEnded.FORWARD) == Refusal(
        Reason.SESSION_SERVICE_UNAVAILABLE,
        "It cannot be determined now whether the session exists: it is away.",
        "s-1",
        passed_on,
    )


@pytest.mark.parametrize("user", ["ann", "bob", None])
def test_a_session_that_belongs_to_no_user_takes_every_users_writes(user):
    """A session without an owner is open to each user, and to a request without one."""
    unowned = Session(UNOWNED, SessionStatus.ACTIVE)
    decision = decide_by_session(Reference("s1", user), unowned, Grounds.FOUND, OnEnded.FORWARD)
    assert not isinstance(decision, Refusal)
