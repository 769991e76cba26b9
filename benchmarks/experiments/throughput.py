"""Requests a second under a closed loop, one contender at a time.

All are started anew in each round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from benchmarks.bench import Bench, rotated
from benchmarks.cases import Case
from benchmarks.experiments.measure import Mark, measure, warm
from benchmarks.lineup import CONTENDERS, Checks, Contender
from benchmarks.load import Load
from benchmarks.processes import Failed
from benchmarks.samples import Sample
from benchmarks.stage import Running
from benchmarks.verify import verify

START_UP = "start-up"
KNOWN_BEFORE = 1000


def run(bench: Bench, cases: Sequence[Case]) -> None:
    """In a round its contenders stand ready, and one at a time is under load: those compared are seconds apart."""
    names = frozenset().union(*(bench.compared(case.name) for case in cases))
    compared = [each for each in CONTENDERS if each.name in names]
    for number, here in bench.rounds(CONTENDERS, compared, bench.options.close):
        with contextlib.ExitStack() as stack:
            ready = {each.name: running for each in here if (running := _ready(bench, stack, each, number))}
            for case in cases:
                judged = bench.compared(case.name)
                for contender in rotated([each for each in case.contenders if each.name in ready], number):
                    if contender.name in judged or number < bench.options.beside:
                        bench.say(f"{case.name}, round {number + 1}: {contender.name}")
                        load = Load(case.template, case.sessions, bench.options.seconds, case.connections)
                        mark = Mark(case.name, contender.name, number, {case.decision}, case.hits)
                        bench.samples.add(measure(bench.stage, ready[contender.name], load, mark))


def _ready(bench: Bench, stack: contextlib.ExitStack, contender: Contender, number: int) -> Running | None:
    """Start a contender, and show that it does its work; one that does not is left out from now on."""
    try:
        running = stack.enter_context(bench.stage.running(contender))
        verify(bench.stage, running)
        if contender.checks is Checks.BODY:
            warm(bench.stage, running, KNOWN_BEFORE)
    except (Failed, OSError) as failure:
        bench.samples.missing[contender.name] = str(failure)
        return None
    if contender.argv:
        bench.samples.add(Sample(START_UP, contender.name, number, {"start_up_ms": running.start_up_seconds * 1e3}))
    return running
