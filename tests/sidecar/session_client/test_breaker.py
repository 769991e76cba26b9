"""The circuit breaker, on a clock of the test's own."""

from __future__ import annotations

import itertools

import pytest

from sidecar.session_client.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker
from sidecar.testing import FakeClock


class Watched(Breaker):
    def __init__(self) -> None:
        self.changes: list[bool] = []
        self.numbers = itertools.count()
        self.clock = FakeClock()
        super().__init__(self.changes.append, self.clock)

    def fail(self, times: int = 1) -> None:
        """Fail for so many sessions that have not failed before."""
        for _ in range(times):
            self.failed(f"s-{next(self.numbers)}")


@pytest.fixture
def breaker():
    return Watched()


def test_a_few_failures_hold_nothing_back(breaker):
    """A success resets the count of failures."""
    breaker.fail(FAILURES - 1)
    breaker.succeeded("s-new")
    breaker.fail(FAILURES - 1)
    assert breaker.hold("s-new") is None
    assert not breaker.is_open
    assert breaker.changes == []


def test_several_in_a_row_do(breaker):
    """Enough failures in a row open the breaker, which says once that it opened, and for how many seconds."""
    breaker.fail(FAILURES)
    assert breaker.is_open
    assert breaker.hold("s-new") == 1
    breaker.fail()
    assert breaker.changes == [True]


def test_after_the_pause_one_call_tries(breaker):
    """After the pause one call may try while the others wait."""
    breaker.fail(FAILURES)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-new") is None
    assert breaker.hold("s-new") is not None


def test_a_try_that_succeeds_closes_it(breaker):
    """A success closes the breaker, and the next outage starts with the first pause."""
    breaker.fail(FAILURES)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-new") is None
    breaker.succeeded("s-new")
    assert [breaker.hold("s-new"), breaker.hold("s-new")] == [None, None]
    assert breaker.changes == [True, False]
    breaker.fail(FAILURES)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-new") is None


def test_a_try_that_fails_doubles_the_pause_up_to_a_bound(breaker):
    """Each failed try doubles the pause, up to the longest one."""
    breaker.fail(FAILURES)
    pauses = []
    for _ in range(8):
        waited = 0.0
        while breaker.hold("s-new") is not None:
            breaker.clock.advance(0.05)
            waited += 0.05
        pauses.append(waited)
        breaker.fail()
    assert pauses[0] <= FIRST_PAUSE + 0.05
    assert pauses[1] > pauses[0]
    assert LONGEST_PAUSE * 0.75 <= pauses[-1] <= LONGEST_PAUSE + 0.05


def test_a_try_that_never_reports_does_not_block_for_ever(breaker):
    """A try that never reports lets another one through after a pause."""
    breaker.fail(FAILURES)
    for _ in range(3):
        breaker.clock.advance(FIRST_PAUSE)
        assert breaker.hold("s-new") is None
    assert breaker.is_open


def test_late_failures_of_calls_made_before_do_not_double_for_each(breaker):
    """Failures of a hundred calls that were made before the breaker opened count as one."""
    breaker.fail(FAILURES + 100)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-new") is None


def test_one_session_counts_once(breaker):
    """A session counts once, however often it fails, and after others have succeeded too."""
    for _ in range(3):
        for _ in range(FAILURES):
            breaker.failed("s-broken")
        breaker.succeeded("s-new")
    assert breaker.changes == []


def test_an_instance_that_is_not_reached_counts_every_time(breaker):
    """A failure to connect counts each time, for the same session too."""
    for _ in range(FAILURES):
        breaker.failed("s-1", unreachable=True)
    assert breaker.is_open


def test_a_session_that_failed_before_takes_no_other_ones_turn(breaker):
    """The try of a session that failed before takes no turn from sessions that did not."""
    for _ in range(FAILURES):
        breaker.failed("s-broken", unreachable=True)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-broken") is None
    breaker.failed("s-broken")
    assert breaker.hold("s-new") is None
    breaker.succeeded("s-new")
    assert not breaker.is_open


def test_sessions_that_failed_before_try_one_at_a_time(breaker):
    """Sessions that failed before take turns, so that one of them may close the breaker."""
    breaker.fail(FAILURES)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-0") is None
    assert breaker.hold("s-1") is not None
    breaker.succeeded("s-0")
    assert breaker.hold("s-1") is None
