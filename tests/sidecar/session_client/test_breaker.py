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
    """One success starts the count anew."""
    breaker.fail(FAILURES - 1)
    breaker.succeeded("s-new")
    breaker.fail(FAILURES - 1)
    assert breaker.hold("s-new") is None
    assert not breaker.is_open
    assert breaker.changes == []


def test_several_in_a_row_do(breaker):
    """It says how long, in whole seconds, and says once that it opened."""
    breaker.fail(FAILURES)
    assert breaker.is_open
    assert breaker.hold("s-new") == 1
    breaker.fail()
    assert breaker.changes == [True]


def test_after_the_pause_one_call_tries(breaker):
    """The others still wait."""
    breaker.fail(FAILURES)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-new") is None
    assert breaker.hold("s-new") is not None


def test_a_try_that_succeeds_closes_it(breaker):
    """And the next outage starts with the first pause again."""
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
    """Seconds between tries grow, and stop growing."""
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
    """The next one comes after another pause."""
    breaker.fail(FAILURES)
    for _ in range(3):
        breaker.clock.advance(FIRST_PAUSE)
        assert breaker.hold("s-new") is None
    assert breaker.is_open


def test_late_failures_of_calls_made_before_do_not_double_for_each(breaker):
    """A hundred calls that time out together are one outage."""
    breaker.fail(FAILURES + 100)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-new") is None


def test_one_session_counts_once(breaker):
    """However often it fails, and after others have succeeded too."""
    for _ in range(3):
        for _ in range(FAILURES):
            breaker.failed("s-broken")
        breaker.succeeded("s-new")
    assert breaker.changes == []


def test_an_instance_that_is_not_reached_counts_every_time(breaker):
    """Whichever session it was about."""
    for _ in range(FAILURES):
        breaker.failed("s-1", unreachable=True)
    assert breaker.is_open


def test_a_session_that_failed_before_takes_no_other_ones_turn(breaker):
    """Its try and its failure move nothing for those that have not failed."""
    for _ in range(FAILURES):
        breaker.failed("s-broken", unreachable=True)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-broken") is None
    breaker.failed("s-broken")
    assert breaker.hold("s-new") is None
    breaker.succeeded("s-new")
    assert not breaker.is_open


def test_sessions_that_failed_before_try_one_at_a_time(breaker):
    """In an outage they may be all that is asked for, and one of them finds its end."""
    breaker.fail(FAILURES)
    breaker.clock.advance(FIRST_PAUSE)
    assert breaker.hold("s-0") is None
    assert breaker.hold("s-1") is not None
    breaker.succeeded("s-0")
    assert breaker.hold("s-1") is None
