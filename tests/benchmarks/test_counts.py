"""The proof that a measurement measured what it says."""

from collections import Counter

import pytest

from benchmarks.counts import Counts, Expected, decisions_in, trouble

PAGE = """# HELP sidecar_requests_total Decisions.
# TYPE sidecar_requests_total counter
sidecar_requests_total{decision="known",reason=""} 41.0
sidecar_requests_total{decision="refused",reason="session_gone"} 2.0
sidecar_requests_total{decision="refused",reason="ambiguous_path"} 1.0
sidecar_requests_created{decision="known",reason=""} 1.7e+09
sidecar_known_sessions 7.0
"""


def counts(upstream: int, **decisions: int) -> Counts:
    return Counts(Counter(decisions), upstream, 0)


def test_decisions_are_summed_over_reasons() -> None:
    """Only the decision counter is read, with all of its reasons."""
    assert decisions_in(PAGE) == {"known": 41, "refused": 3}


def test_a_difference_keeps_only_what_moved() -> None:
    """A decision that stood still is not part of a load."""
    moved = counts(30, known=25, passed=4) - counts(10, known=5, passed=4)
    assert moved == counts(20, known=20)


@pytest.mark.parametrize(
    ("moved", "decisions"),
    [
        (counts(100, known=100), {"known"}),
        (counts(108, known=108), {"known"}),
        (counts(100, known=98, created=2), {"known", "created"}),
        (counts(100), None),
    ],
)
def test_counters_that_moved_by_the_answers_are_no_trouble(moved: Counts, decisions: set[str] | None) -> None:
    """As many as were answered, or a few more that were cut off."""
    assert trouble(moved, Expected(100, 8, decisions)) == ""


@pytest.mark.parametrize(
    ("moved", "decisions"),
    [
        (counts(99, known=100), {"known"}),
        (counts(109, known=100), {"known"}),
        (counts(100, known=99), {"known"}),
        (counts(100, passed=100), {"known"}),
        (counts(100, known=100, refused=1), {"known"}),
        (counts(99), None),
    ],
)
def test_anything_else_is_trouble(moved: Counts, decisions: set[str] | None) -> None:
    """Requests that never arrived, too many of them, or another decision."""
    assert trouble(moved, Expected(100, 8, decisions)) != ""
