"""Requests a second under a closed loop, every contender alone on its core.

It is started anew for each of its turns, and in a turn goes through all its cases.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import bars
from benchmarks.bench import Bench
from benchmarks.cases import Case
from benchmarks.experiments.measure import Mark, measure, warm
from benchmarks.lineup import CONTENDERS, Checks, Contender
from benchmarks.load import Load
from benchmarks.processes import Failed
from benchmarks.samples import Sample
from benchmarks.verify import verify

START_UP = "start-up"
KNOWN_BEFORE = 1000


def run(bench: Bench, cases: Sequence[Case]) -> None:
    """A case that a bar stands on has turns of its own, so that those it compares are measured seconds apart."""
    alone = [[case] for case in cases if bars.compared(case.name)]
    together = [case for case in cases if not bars.compared(case.name)]
    for some in (*alone, together):
        names = frozenset().union(*(bars.compared(case.name) for case in some))
        compared = [each for each in CONTENDERS if each.name in names]
        for number, contender in bench.turns(CONTENDERS, compared, bench.options.close):
            mine = [case for case in some if contender in case.contenders]
            if mine and contender.name not in bench.samples.missing:
                bench.say(f"{mine[0].name}, round {number + 1}: {contender.name}")
                try:
                    _turn(bench, mine, contender, number)
                except (Failed, OSError) as failure:
                    bench.samples.missing[contender.name] = str(failure)


def _turn(bench: Bench, cases: Sequence[Case], contender: Contender, number: int) -> None:
    with bench.stage.running(contender) as running:
        verify(bench.stage, running)
        if contender.argv:
            figures = {"start_up_ms": running.start_up_seconds * 1e3}
            bench.samples.add(Sample(START_UP, contender.name, number, figures))
        if contender.checks is Checks.BODY:
            warm(bench.stage, running, KNOWN_BEFORE)
        for case in cases:
            load = Load(case.template, case.sessions, bench.options.seconds, case.connections)
            mark = Mark(case.name, contender.name, number, {case.decision}, case.hits)
            bench.samples.add(measure(bench.stage, running, load, mark))
