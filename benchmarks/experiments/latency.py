"""Latency at a fixed modest rate, and what each contender adds to the direct connection of the same round."""

from __future__ import annotations

from benchmarks import wire
from benchmarks.bench import Bench
from benchmarks.counts import Expected
from benchmarks.experiments.measure import warm
from benchmarks.lineup import DIRECT, ENVOY_PLAIN, NGINX_LUA, NGINX_PLAIN, SIDECAR, SLOW_LANE
from benchmarks.load import last_line
from benchmarks.meter import Meter
from benchmarks.processes import FIXED_CORE
from benchmarks.samples import Sample
from benchmarks.stage import Running, Stage

CASE = "latency"
RATE = 500
SESSIONS = 1000
# The direct connection comes first in every round: the others are held against it. The sidecar is beside nginx.
CONTENDERS = (DIRECT, SIDECAR, NGINX_PLAIN, SLOW_LANE, NGINX_LUA, ENVOY_PLAIN)
PERCENTILES = ("p50_ms", "p99_ms", "p999_ms")


def run(bench: Bench) -> None:
    others = [each for each in bench.present(CONTENDERS) if each is not DIRECT]
    for number in range(bench.options.rounds):
        turn = number % max(len(others), 1)
        direct: dict[str, float] = {}
        for contender in (DIRECT, *others[turn:], *others[:turn]):
            bench.say(f"latency, round {number + 1} of {bench.options.rounds}: {contender.name}")
            with bench.stage.running(contender) as running:
                warm(bench.stage, running, SESSIONS)
                figures, why = _measure(bench.stage, running, bench.options.latency_seconds)
            if contender is DIRECT:
                direct = dict(figures)
            else:
                figures |= {f"added_{name}": figures[name] - direct[name] for name in PERCENTILES}
            bench.samples.add(Sample(CASE, contender.name, number, figures, why))


def _measure(stage: Stage, running: Running, seconds: int) -> tuple[dict[str, float], str]:
    meter = Meter(stage, running)
    template = stage.write(wire.SMALL_WRITE)
    argv = ["taskset", "--cpu-list", str(FIXED_CORE), stage.words["python"], "-m", "benchmarks.openloop"]
    argv += [str(running.port), str(template), str(RATE), str(seconds), str(SESSIONS)]
    figures: dict[str, float] = last_line(argv)
    answered, failed = int(figures.pop("answered")), int(figures.pop("failed"))
    why = f"{failed} bad statuses" if failed else meter.trouble(meter.moved(), Expected(answered, 0, {"known"}))
    return figures, why
