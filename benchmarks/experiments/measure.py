"""Measured loads: counters before, wrk, counters after, and the figures that follow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    (sample,) = measure_at_once(stage, [(running, load, mark)])
    return sample


def measure_at_once(stage: Stage, parts: Sequence[tuple[Running, Load, Mark]]) -> list[Sample]:
    """Load contenders in the same seconds; they share the core. All of them must be decided alike."""
    runnings, loads, marks = zip(*parts, strict=True)
    meter = Meter(stage, *runnings)
    cpu, idle = [each.cpu_seconds() for each in runnings], machine.idle_seconds(CONTENDER_CORE)
    with ThreadPoolExecutor(len(parts)) as pool:
        outcomes = list(pool.map(lambda running, load: generate(stage, running.port, load), runnings, loads))
    cpu = [each.cpu_seconds() - before for each, before in zip(runnings, cpu, strict=True)]
    idle = machine.idle_seconds(CONTENDER_CORE) - idle
    requests, connections = sum(each.requests for each in outcomes), sum(each.connections for each in loads)
    why = "; ".join(each.errors for each in outcomes if each.errors)
    why = why or meter.trouble(meter.moved(), Expected(requests, connections, marks[0].decisions, marks[0].hits))
    return [
        Sample(mark.case, mark.contender, mark.round, _figures(outcome, spent, idle), why)
        for mark, outcome, spent in zip(marks, outcomes, cpu, strict=True)
    ]


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
