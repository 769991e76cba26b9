"""One measured load: counters before, wrk, counters after, and the figures that follow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from benchmarks import machine
from benchmarks.counts import Expected
from benchmarks.load import Load, Outcome, generate
from benchmarks.meter import Meter
from benchmarks.processes import CONTENDER_CORE, Failed
from benchmarks.samples import Sample
from benchmarks.stage import Running, Stage
from benchmarks.wire import SMALL_WRITE


@dataclass(frozen=True, slots=True)
class Mark:
    """What a sample is filed under, and the decisions that the sidecar may have made of its requests."""

    case: str
    contender: str
    round: int
    decisions: Collection[str]
    hits: int = 1


def measure(stage: Stage, running: Running, load: Load, mark: Mark) -> Sample:
    """Load a contender once. The sample counts only if nothing failed and the counters agree."""
    meter = Meter(stage, running)
    cpu, idle = running.cpu_seconds(), machine.idle_seconds(CONTENDER_CORE)
    outcome = generate(stage, running.port, load)
    cpu, idle = running.cpu_seconds() - cpu, machine.idle_seconds(CONTENDER_CORE) - idle
    expected = Expected(outcome.requests, load.connections, mark.decisions, mark.hits)
    why = outcome.errors or meter.trouble(meter.moved(), expected)
    return Sample(mark.case, mark.contender, mark.round, _figures(outcome, cpu, idle), why)


def warm(stage: Stage, running: Running, sessions: int, *, first: int = 0) -> Outcome:
    """Make ids `first`… known with real first writes. Raises Failed where one of them did."""
    outcome = generate(stage, running.port, Load(SMALL_WRITE, sessions, 3600, order="once", first=first))
    if outcome.errors:
        raise Failed(f"{running.contender.name} could not be warmed: {outcome.errors}")
    return outcome


def _figures(outcome: Outcome, cpu: float, idle: float) -> dict[str, float]:
    figures = {
        "requests_per_s": outcome.rate,
        "megabytes_per_s": outcome.bytes / outcome.seconds / 1e6,
        "core_share": cpu / outcome.seconds,
        "core_idle": min(1.0, idle / outcome.seconds),
        **{f"{name}_ms": microseconds / 1e3 for name, microseconds in outcome.latency_us.items()},
    }
    if cpu > 0:
        figures["requests_per_cpu_s"] = outcome.requests / cpu
    return figures
