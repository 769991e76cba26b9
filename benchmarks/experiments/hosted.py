"""What the guard costs an ASGI application: in its own process under `session-sidecar wrap`, and as a hop before it.

The same application is measured by itself under uvicorn, and what each of the two ways adds to its processor time for
a request is compared within the round. All that runs for an answer stands on the contender's core.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks import wire
from benchmarks.bench import Bench
from benchmarks.experiments.measure import Mark, measure, warm
from benchmarks.lineup import HOSTED, HOSTED_BEHIND_A_HOP, HOSTED_PLAIN, HOSTED_WRAPPED
from benchmarks.load import Load
from benchmarks.samples import Samples
from benchmarks.verify import verify

CASE = "hosted"
WRAP, HOP = HOSTED_WRAPPED.name, HOSTED_BEHIND_A_HOP.name
SESSIONS = 1000


def run(bench: Bench) -> None:
    for number, contender in bench.turns(HOSTED, HOSTED, bench.options.rounds):
        bench.say(f"hosted, round {number + 1}: {contender.name}")
        with bench.stage.running(contender) as running:
            verify(bench.stage, running)
            warm(bench.stage, running, SESSIONS)
            load = Load(wire.SMALL_WRITE, SESSIONS, bench.options.seconds)
            # The upstream of the other contenders sees none of it.
            mark = Mark(CASE, contender.name, number, {"known"}, hits=0)
            bench.samples.add(measure(bench.stage, running, load, mark))
    _hold_against_the_application(bench.samples)


def _hold_against_the_application(samples: Samples) -> None:
    """Note the processor time of a request, and what was added to the application's own of the same round."""
    plain = samples.of(CASE, HOSTED_PLAIN.name, "requests_per_cpu_s")
    for place, sample in enumerate(samples.taken):
        if sample.case == CASE and sample.round in plain:
            cpu_us = 1e6 / sample.figures["requests_per_cpu_s"]
            figures = {**sample.figures, "cpu_us": cpu_us, "added_us": cpu_us - 1e6 / plain[sample.round]}
            samples.taken[place] = replace(sample, figures=figures)
