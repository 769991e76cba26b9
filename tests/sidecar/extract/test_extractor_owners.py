"""Who owns the session that a request names: the request itself, or the gateway in front of it."""

from __future__ import annotations

import pytest

from sidecar.extract.ids import CANONICAL
from sidecar.model import Reason, Reference, Refusal, RuleKind
from sidecar.profile.loading import find_profile
from tests.support.reading import AGNO, STORE, found, reason, refused

BOTH = {"session_id": "s1", "user_id": "u1"}
REFERENCE = Reference("s1", "u1", RuleKind.ENSURE, ())
SUMMARIZE = "/api/v1/memories/session/s1/summarize"
UUID = "550e8400-e29b-41d4-a716-446655440000"


def test_the_user_may_stand_in_the_query() -> None:
    """The owner is read beside the session id or in the query."""
    assert found({"session_id": "s1"}, target=f"{STORE}?user_id=u1") == REFERENCE
    assert found(b"", target=f"{SUMMARIZE}?user_id=u1") == REFERENCE
    assert found({"user_id": "u1"}, target=SUMMARIZE) == REFERENCE


def test_a_session_needs_an_owner() -> None:
    """A write that names a session and no user is refused, whether the session exists or not."""
    refusal = Refusal(Reason.USER_ID_REQUIRED, "A session has an owner, and the request names no user.", "s1")
    assert refused({"session_id": "s1"}) == refusal
    assert refused({"session_id": "s1", "user_id": None}) == refusal
    assert refused(b"", target=SUMMARIZE) == refusal


def test_a_bad_user_without_a_session_is_nobodys_business() -> None:
    """Without a session id there is nothing to guard, so a bad user id is not refused."""
    assert found({"user_id": 1}) is None
    assert found({"user_id": "a"}, target=f"{STORE}?user_id=b") is None


def test_uuids_can_be_demanded() -> None:
    """With `SIDECAR_ID_FORMAT=uuid` an id that is no UUID is refused, each kind with its own reason."""
    both = {"session_id": f"user_{UUID}", "user_id": UUID}
    assert found(both, id_format="uuid") == Reference(f"user_{UUID}", UUID)
    assert refused({**both, "session_id": "s1"}, id_format="uuid") == Refusal(
        Reason.INVALID_SESSION_ID, f"The session id is not {CANONICAL}, or a prefix, _ and such a UUID."
    )
    assert refused({**both, "user_id": f"user_{UUID}"}, id_format="uuid") == Refusal(
        Reason.INVALID_USER_ID, f"The user id is not {CANONICAL}.", f"user_{UUID}"
    )


def test_a_gateway_may_name_the_owner() -> None:
    """The user header alone names the owner, and another owner in the request is refused."""
    user = (b"x-user", b"u1")
    assert found({"session_id": "s1"}, user, user_header="X-User") == REFERENCE
    assert found(BOTH, user, user_header="X-User") == REFERENCE
    assert found(BOTH, (b"x-user", b" u1\t"), user_header="x-user") == REFERENCE
    assert found({"user_id": "u1"}, user_header="x-user") is None


def test_without_the_gateways_header_nobody_is_named() -> None:
    """Without the user header a user in the body does not count."""
    detail = "A session has an owner, and the header x-user names no user."
    assert refused(BOTH, user_header="x-user") == Refusal(Reason.USER_ID_REQUIRED, detail, "s1")


def test_without_the_gateways_header_an_optional_owner_is_not_left_out() -> None:
    """Without the user header a write is refused also where it might name no owner: the body's claim does not count."""
    target, agno = "/agents/a/runs", find_profile("agno")
    assert found(BOTH, target=target, profile=agno).user_id == "u1"
    assert found({"session_id": "s1"}, target=target, profile=agno).user_id is None
    for body in (BOTH, {"session_id": "s1"}):
        assert reason(body, target=target, profile=agno, user_header="x-user") is Reason.USER_ID_REQUIRED


def test_the_gateways_header_is_there_once() -> None:
    """A repeated user header is refused, even with the same value twice."""
    user = (b"x-user", b"u1")
    detail = "The header x-user is repeated."
    assert refused(BOTH, user, user, user_header="x-user") == Refusal(Reason.AMBIGUOUS_SESSION, detail, "s1")


def test_somebody_elses_name_in_the_body_is_refused() -> None:
    """A request that names a user other than the header's is refused."""
    detail = "The request names another user than the one who is signed in."
    refusal = Refusal(Reason.SESSION_OWNED_BY_ANOTHER_USER, detail, "s1")
    assert refused(BOTH, (b"x-user", b"u2"), user_header="x-user") == refusal
    assert (
        refused({"session_id": "s1"}, (b"x-user", b"u2"), user_header="x-user", target=f"{STORE}?user_id=u1") == refusal
    )
    assert reason({**BOTH, "user_id": 1}, (b"x-user", b"u1"), user_header="x-user") is Reason.INVALID_USER_ID


@pytest.mark.parametrize("value", [b"", b" ", b"a b", b"a,b", b"\xe9", b"a" * 256])
def test_the_gateways_header_is_in_the_grammar(value: bytes) -> None:
    """A user id in the header is refused outside the grammar."""
    assert reason({"session_id": "s1"}, (b"x-user", value), user_header="x-user") is Reason.INVALID_USER_ID


def test_other_spellings_of_the_gateways_header_do_not_count() -> None:
    """A spelling with other punctuation is no user header."""
    assert found(BOTH, (b"x-user", b"u1"), (b"x_user", b"u2"), user_header="x-user") == REFERENCE


@pytest.mark.parametrize("second", [b"x-session-id", b"x_session_id", b"x-user-id", b"x_user.id"])
def test_a_header_that_names_an_id_may_be_there_once(second: bytes) -> None:
    """Servers that join two fields of a name, or of look-alikes, would find an id that was not checked."""
    once = [(b"x-session-id", b"s1"), (b"x-user-id", b"u1")]
    target = "/agents/a/runs"
    assert found(b"", *once, target=target, profile=AGNO) == REFERENCE
    value = b"s1" if b"session" in second else b"u1"
    assert reason(b"", *once, (second, value), target=target, profile=AGNO) is Reason.AMBIGUOUS_SESSION
