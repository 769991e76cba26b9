"""One measured load: counters before, wrk, counters after, and the figures that follow."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from benchmarks.load import Load, Outcome, generate
from benchmarks.proof import Counts, count, trouble
from benchmarks.samples import Sample
from benchmarks.stage import Running, Stage
from benchmarks.wire import SMALL_WRITE

CEILING_BELOW = 0.9
"""A contender that used less of its core than this was not what held the rate back."""


def settled(stage: Stage, running: Running) -> Counts:
    """The counters once they stand still: requests that an earlier load left behind are done."""
    deadline = time.monotonic() + 20
    last = count(stage, running)
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = count(stage, running)
        moved = now - last
        if moved.upstream <= 1 and not moved.decisions:
            return now
        last = now
    return last


@dataclass(frozen=True, slots=True)
class Mark:
    """What a sample is filed under, and the decisions that the sidecar may have made of its requests."""

    case: str
    contender: str
    round: int
    decisions: Collection[str]


def measure(stage: Stage, running: Running, load: Load, mark: Mark) -> Sample:
    """Load a contender once. The sample counts only if nothing failed and the counters agree."""
    before, cpu_before = settled(stage, running), running.cpu_seconds()
    outcome = generate(stage, running.port, load)
    cpu = running.cpu_seconds() - cpu_before
    moved = settled(stage, running) - before
    why = outcome.errors or trouble(moved, running, outcome.requests, load.connections, mark.decisions)
    return Sample(mark.case, mark.contender, mark.round, _figures(outcome, cpu), why)


def warm(stage: Stage, running: Running, sessions: int, *, first: int = 0) -> Outcome:
    """Make ids `first`… known with real first writes. Raises RuntimeError where one of them failed."""
    outcome = generate(stage, running.port, Load(SMALL_WRITE, sessions, 3600, order="once", first=first))
    if outcome.errors:
        raise RuntimeError(f"{running.contender.name} could not be warmed: {outcome.errors}")
    return outcome


def _figures(outcome: Outcome, cpu: float) -> dict[str, float]:
    core = cpu / outcome.seconds
    figures = {
        "requests_per_s": outcome.rate,
        "megabytes_per_s": outcome.bytes / outcome.seconds / 1e6,
        "core_share": core,
        **{f"{name}_ms": microseconds / 1e3 for name, microseconds in outcome.latency_us.items()},
    }
    if cpu > 0:
        figures["requests_per_cpu_s"] = outcome.requests / cpu
    return figures
