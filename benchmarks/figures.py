"""The arithmetic of the benchmark, pure: medians over rounds, ratios within a round, and how sure they are.

Two contenders are compared only inside a round, because the machine is another one a minute later. The ratio of a
run is the median of the rounds' ratios; its interval comes from resampling the rounds.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RESAMPLES = 4_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A median over rounds with the bootstrap interval around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the lowest and highest round."""

    median: float
    lowest: float
    highest: float


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError where there is no value."""
    if not values:
        raise ValueError("no rounds were measured")
    return Spread(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of 100 do not exceed (nearest rank)."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def shares(counts: Mapping[str, int], most: int) -> dict[str, float]:
    """The largest counts as shares of all of them, largest first."""
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return {name: count / total for name, count in ranked[:most]}


def paired_ratios(of: Mapping[int, float], over: Mapping[int, float]) -> list[float]:
    """`of` divided by `over` for each round that has both; a round without a positive divisor is left out."""
    return [of[number] / over[number] for number in sorted(of.keys() & over.keys()) if over[number] > 0]


def bootstrap_median(values: Sequence[float], *, seed: int = 6) -> Interval:
    """The median and its percentile bootstrap interval; the same values give the same interval."""
    middle = spread(values).median
    dice = random.Random(seed)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    return Interval(middle, medians[int(RESAMPLES * tail)], medians[math.ceil(RESAMPLES * (1 - tail)) - 1])


def holds(interval: Interval, *, at_least: float | None = None, at_most: float | None = None) -> bool:
    """A bar holds when the less favourable end of the interval clears it."""
    if at_least is not None and interval.low < at_least:
        return False
    return at_most is None or interval.high <= at_most


def overtakings(arrivals: Sequence[int]) -> int:
    """How many even numbers arrived after the odd number that follows them.

    Raises KeyError where an even number arrived without that one.
    """
    places = {number: place for place, number in enumerate(arrivals)}
    return sum(place > places[number + 1] for number, place in places.items() if number % 2 == 0)
