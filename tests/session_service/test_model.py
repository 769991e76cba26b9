"""The outcome of a look at a session, by the user that asks."""

from __future__ import annotations

import datetime as dt

import pytest

from session_service.model import Conflict, Found, Gone, Session, Status, judge

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def session(status: Status) -> Session:
    return Session("s", "ann", status, {}, {}, NOW, NOW)


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.ENDED])
@pytest.mark.parametrize("asked_by", [None, "ann"])
def test_a_session_that_lives_or_has_ended_is_found(status: Status, asked_by: str | None) -> None:
    """By its owner, or without a user."""
    assert judge(session(status), asked_by) == Found(session(status))


@pytest.mark.parametrize("asked_by", ["bob", "Ann", "ann ", ""])
def test_a_session_of_somebody_else_is_a_conflict(asked_by: str) -> None:
    """Owners are compared byte for byte."""
    assert judge(session(Status.ACTIVE), asked_by) == Conflict()


@pytest.mark.parametrize("asked_by", [None, "ann", "bob"])
def test_a_tombstone_is_one_for_everybody(asked_by: str | None) -> None:
    """Also for those it never belonged to."""
    assert judge(session(Status.DELETED), asked_by) == Gone()
