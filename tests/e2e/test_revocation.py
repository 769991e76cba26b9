"""What the session service ends or deletes stops at the sidecar, though it was known there."""

from __future__ import annotations

from tests.support.platform import Platform, new_id
from tests.support.processes import wait_until


def test_a_delete_stops_writes_through_a_sidecar_that_knew_the_session(platform: Platform) -> None:
    """The event evicts it long before its entry would expire; from then on nothing is stored."""
    user, session = new_id("user"), new_id("session")
    assert platform.store(user, session, "before").status_code == 200
    wait_until(lambda: platform.metric("sidecar_events_connected") == 1, "the event stream")
    assert platform.http.delete(f"{platform.sessions}/api/v1/sessions/{session}").status_code == 204
    wait_until(lambda: platform.store(user, session, "meanwhile").status_code == 410, "the delete to arrive")
    stored = platform.stored(user, session)
    for _ in range(20):
        assert platform.store(user, session, "after").status_code == 410
    assert platform.stored(user, session) == stored
    assert "after" not in stored


def test_an_ended_session_still_takes_writes_unless_told_otherwise(platform: Platform) -> None:
    """By default `SIDECAR_ON_ENDED` is `forward`."""
    user, session = new_id("user"), new_id("session")
    assert platform.store(user, session, "one").status_code == 200
    assert platform.http.post(f"{platform.sessions}/api/v1/sessions/{session}/end").status_code == 200
    assert platform.store(user, session, "two").status_code == 200
    assert platform.session(session).json()["status"] == "ended"
    assert platform.stored(user, session) == ["one", "two"]
