"""Of lines of one kind the first few in a second are written, and every other one is counted."""

from __future__ import annotations

from sidecar.observability.flood import MOST_IN_A_SECOND, FloodLimit
from sidecar.testing import FakeClock


def test_a_window_that_ends_between_the_report_and_the_next_line_is_reported_later() -> None:
    """A line that begins a new window keeps the count of the one before."""
    clock = FakeClock()
    flood = FloodLimit(clock)
    assert [flood.admits("refused") for _ in range(MOST_IN_A_SECOND + 5)] == [True] * MOST_IN_A_SECOND + [False] * 5
    assert flood.withheld() == {}
    clock.advance(1.0)
    assert flood.admits("refused")
    assert (flood.withheld(), flood.withheld()) == ({"refused": 5}, {})
