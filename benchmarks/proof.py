"""Shows that a measurement measured what it says: counters taken before and after must have moved by its requests.

A generator that stops leaves at most one unanswered request a connection behind, so a counter may run ahead of the
answers by that many and no more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from benchmarks.processes import get
from benchmarks.stage import Running, Stage

DECISION = re.compile(r"^sidecar_requests_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
LABEL = re.compile(r'decision="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Counts:
    """What the counters say now: decisions of the sidecar, requests at the upstream, `PUT`s at the session stub."""

    decisions: Counter[str]
    upstream: int
    puts: int

    def __sub__(self, before: Counts) -> Counts:
        moved = Counter({name: count - before.decisions[name] for name, count in self.decisions.items()})
        return Counts(+moved, self.upstream - before.upstream, self.puts - before.puts)


def decisions_in(metrics: str) -> Counter[str]:
    """The decision counters of a Prometheus text page, summed over their reasons."""
    counts: Counter[str] = Counter()
    for line in DECISION.finditer(metrics):
        if label := LABEL.search(line["labels"]):
            counts[label[1]] += int(float(line["count"]))
    return counts


def count(stage: Stage, running: Running) -> Counts:
    is_sidecar = running.contender.is_sidecar
    decisions = decisions_in(get(running.admin, "/metrics")) if is_sidecar else Counter()
    # The third number of stub_status's third line counts requests, this one included.
    upstream = int(get(stage.upstream, "/benchmark/count").splitlines()[2].split()[2])
    return Counts(decisions, upstream - 1, int(get(stage.session_service, "/benchmark/count")))


def trouble(moved: Counts, running: Running, answered: int, unanswered: int, decisions: Collection[str]) -> str:
    """Why the measurement does not count, or nothing. `unanswered` bounds the requests cut off at its end."""
    allowed = range(answered, answered + unanswered + 1)
    # Reading the counter at the start is itself a request at the upstream.
    if moved.upstream - 1 not in allowed:
        return f"{answered} answers, but {moved.upstream - 1} requests at the upstream"
    if not running.contender.is_sidecar:
        return ""
    expected = sum(moved.decisions[each] for each in decisions)
    if expected not in allowed or sum(moved.decisions.values()) != expected:
        return f"{answered} answers, but decisions {dict(moved.decisions)}"
    return ""
