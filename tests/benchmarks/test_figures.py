"""The arithmetic that the benchmark's verdicts stand on."""

import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.figures import (
    Interval,
    Spread,
    bootstrap_median,
    holds,
    overtakings,
    paired_ratios,
    percentile,
    shares,
    spread,
)

RATES = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=9)


def test_spread_names_median_lowest_and_highest() -> None:
    """A spread is a median between its extremes."""
    assert spread([3, 1, 10, 2]) == Spread(2.5, 1, 10)


def test_a_spread_of_nothing_is_an_error() -> None:
    """No rounds is no result."""
    with pytest.raises(ValueError, match="no rounds"):
        spread([])


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (0, 1)])
def test_percentiles_are_values_that_occurred(percent: float, expected: int) -> None:
    """The nearest rank of 1 to 100 is the number itself."""
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_a_percentile_of_nothing_is_an_error() -> None:
    """There is no p99 of no requests."""
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 99)


def test_ratios_are_taken_within_rounds() -> None:
    """A round that only one of both has, and one with nothing to divide by, says nothing."""
    assert paired_ratios({0: 10, 1: 30, 2: 5, 4: 7}, {0: 5, 1: 10, 3: 9, 4: 0}) == [2, 3]


@settings(max_examples=15)
@given(RATES)
def test_the_interval_lies_around_the_median_and_inside_the_extremes(values: list[float]) -> None:
    """Resampling makes up no value beyond those measured."""
    interval = bootstrap_median(values)
    assert interval.median == statistics.median(values)
    assert min(values) <= interval.low <= interval.median <= interval.high <= max(values)


def test_the_same_values_give_the_same_interval() -> None:
    """A verdict does not depend on luck."""
    assert bootstrap_median([1, 5, 2, 8, 3]) == bootstrap_median([1, 5, 2, 8, 3])


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of intervals from eleven draws each, most hold the median that the draws came from."""
    dice = random.Random(1)
    draws = ([dice.gauss(10, 1) for _ in range(11)] for _ in range(20))
    covered = sum(interval.low <= 10 <= interval.high for interval in map(bootstrap_median, draws))
    assert covered >= 15


@pytest.mark.parametrize(
    ("interval", "at_least", "at_most", "expected"),
    [
        (Interval(2, 1.8, 2.2), 1.8, None, True),
        (Interval(2, 1.7, 2.2), 1.8, None, False),
        (Interval(2, 1.7, 2.9), None, 3, True),
        (Interval(2, 1.7, 3.1), None, 3, False),
        (Interval(2, 1.7, 3.1), None, None, True),
    ],
)
def test_a_bar_holds_by_the_less_favourable_end(
    interval: Interval, at_least: float | None, at_most: float | None, *, expected: bool
) -> None:
    """A median that clears the bar is not enough."""
    assert holds(interval, at_least=at_least, at_most=at_most) is expected


def test_shares_are_of_everything_also_of_what_is_not_shown() -> None:
    """The first two of three, as parts of the whole."""
    assert shares({"a": 1, "b": 6, "c": 3}, 2) == {"b": 0.6, "c": 0.3}


@pytest.mark.parametrize(
    ("arrivals", "count"),
    [((), 0), ((0, 1, 2, 3), 0), ((1, 0, 2, 3), 1), ((0, 2, 1, 3), 0), ((1, 3, 2, 0), 2)],
)
def test_an_overtaking_is_an_odd_number_before_the_even_one_below_it(arrivals: tuple[int, ...], count: int) -> None:
    """The order between pairs does not matter."""
    assert overtakings(arrivals) == count


def test_half_a_pair_has_no_order() -> None:
    """A request that did not arrive is not taken for one that came later."""
    with pytest.raises(KeyError):
        overtakings([0, 2, 3])
