"""Latency at a fixed modest rate, and what each contender adds to the direct connection of the same round."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import wire
from benchmarks.bench import Bench
from benchmarks.counts import Expected
from benchmarks.experiments.measure import warm
from benchmarks.lineup import DIRECT, ENVOY_PLAIN, FAST_PATH_OFF, NGINX_LUA, NGINX_PLAIN, SIDECAR
from benchmarks.load import last_line
from benchmarks.meter import Meter
from benchmarks.processes import FIXED_CORE
from benchmarks.samples import Sample, Samples
from benchmarks.stage import Running, Stage

CASE = "latency"
RATE = 500
SESSIONS = 1000
COMPARED = (DIRECT, SIDECAR, NGINX_PLAIN)
CONTENDERS = (*COMPARED, FAST_PATH_OFF, NGINX_LUA, ENVOY_PLAIN)
PERCENTILES = ("p50_ms", "p99_ms", "p999_ms")


def run(bench: Bench) -> None:
    try:
        for number, contender in bench.turns(CONTENDERS, COMPARED, bench.options.close):
            bench.say(f"latency, round {number + 1}: {contender.name}")
            with bench.stage.running(contender) as running:
                warm(bench.stage, running, SESSIONS)
                figures, why = _measure(bench.stage, running, bench.options.latency_seconds)
            bench.samples.add(Sample(CASE, contender.name, number, figures, why))
    finally:
        # Complete rounds count, also where others failed.
        _hold_against_direct(bench.samples)


def _hold_against_direct(samples: Samples) -> None:
    """Note what each contender added to the direct connection of the same round, if that counts."""
    direct = {name: samples.of(CASE, DIRECT.name, name) for name in PERCENTILES}
    for place, sample in enumerate(samples.taken):
        if sample.case == CASE and sample.contender != DIRECT.name and sample.round in direct[PERCENTILES[0]]:
            added = {f"added_{name}": sample.figures[name] - direct[name][sample.round] for name in PERCENTILES}
            samples.taken[place] = replace(sample, figures={**sample.figures, **added})


def _measure(stage: Stage, running: Running, seconds: int) -> tuple[dict[str, float], str]:
    meter = Meter(stage, running)
    template = stage.write(wire.SMALL_WRITE, running.port)
    argv = ["taskset", "--cpu-list", str(FIXED_CORE), stage.words["python"], "-m", "benchmarks.openloop"]
    argv += [str(running.port), str(template), str(RATE), str(seconds), str(SESSIONS)]
    figures: dict[str, float] = last_line(argv)
    answered, failed = int(figures.pop("answered")), int(figures.pop("failed"))
    why = f"{failed} bad statuses" if failed else meter.trouble(meter.moved(), Expected(answered, 0, {"known"}))
    return figures, why
