"""Shows that a measurement measured what it says: the counters have moved by its requests. Pure.

A generator that stops leaves at most one unanswered request a connection behind, so a counter may run ahead of the
answers by that many and no more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

DECISION = re.compile(r"^sidecar_requests_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
LABEL = re.compile(r'decision="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Counts:
    """What the counters say: decisions of the sidecar, requests at the upstream, `PUT`s at the session stub."""

    decisions: Counter[str]
    upstream: int
    puts: int

    def __sub__(self, before: Counts) -> Counts:
        moved = Counter({name: count - before.decisions[name] for name, count in self.decisions.items()})
        return Counts(+moved, self.upstream - before.upstream, self.puts - before.puts)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a load must have moved: `answered` requests, at most `unanswered` more cut off at its end.

    The upstream counts each of them `hits` times. `decisions` are those that the sidecar may have made of them; None
    for a contender that has no such counter.
    """

    answered: int
    unanswered: int
    decisions: Collection[str] | None
    hits: int = 1


def decisions_in(metrics: str) -> Counter[str]:
    """The decision counters of a Prometheus text page, summed over their reasons."""
    counts: Counter[str] = Counter()
    for line in DECISION.finditer(metrics):
        if label := LABEL.search(line["labels"]):
            counts[label[1]] += int(float(line["count"]))
    return counts


def trouble(moved: Counts, expected: Expected) -> str:
    """Why the measurement does not count, or nothing."""
    allowed = range(expected.answered, expected.answered + expected.unanswered + 1)
    if moved.upstream not in range(allowed.start * expected.hits, (allowed.stop - 1) * expected.hits + 1):
        return f"{expected.answered} answers, but {moved.upstream} requests at the upstream"
    if expected.decisions is None:
        return ""
    wanted = sum(moved.decisions[each] for each in expected.decisions)
    if wanted not in allowed or moved.decisions.total() != wanted:
        return f"{expected.answered} answers, but decisions {dict(moved.decisions)}"
    return ""
