"""Two sidecars on one port, each on a core of its own, beside one: what two processors carry.

The generator and the upstream need a core too, so two cores cannot be filled with sidecars. The capacity of each
sidecar is therefore what it answered per second of its own processor time; that of two is the sum. What the two share
(the listening address, the kernel's tables, the caches of the processor) slows each of them down in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from benchmarks import wire
from benchmarks.bench import Bench, rotated
from benchmarks.counts import Expected
from benchmarks.experiments.measure import warm
from benchmarks.lineup import SIDECAR
from benchmarks.load import Load, generate
from benchmarks.meter import Meter, decisions_of
from benchmarks.processes import FIXED_CORE
from benchmarks.samples import Sample
from benchmarks.stage import Running

CASE = "several"
ONE, TWO = "one sidecar", "two sidecars"
SHARED = {"SIDECAR_REUSE_PORT": "true"}
SESSIONS, CONNECTIONS = 1000, 256


def run(bench: Bench) -> None:
    if not bench.present([SIDECAR]):
        return
    for number in range(bench.options.rounds):
        for name in rotated((ONE, TWO), number):
            bench.say(f"several, round {number + 1}: {name}")
            with contextlib.ExitStack() as stack:
                sidecars = [stack.enter_context(bench.stage.running(SIDECAR, SHARED))]
                warm(bench.stage, sidecars[0], SESSIONS)
                if name == TWO:
                    second = bench.stage.running(SIDECAR, SHARED, core=FIXED_CORE, port=sidecars[0].port)
                    sidecars.append(stack.enter_context(second))
                    _let_each_know(bench, sidecars)
                bench.samples.add(_measure(bench, sidecars, name, number))


def _let_each_know(bench: Bench, sidecars: Sequence[Running]) -> None:
    """Send to the shared port until no sidecar creates anything: the kernel chooses who answers a connection."""
    load = Load(wire.SMALL_WRITE, SESSIONS, 1, CONNECTIONS)
    meter = Meter(bench.stage, *sidecars)
    generate(bench.stage, sidecars[0].port, load)
    while meter.moved().puts:
        meter = Meter(bench.stage, *sidecars)
        generate(bench.stage, sidecars[0].port, load)


def _measure(bench: Bench, sidecars: Sequence[Running], name: str, number: int) -> Sample:
    meter = Meter(bench.stage, *sidecars)
    before = [(decisions_of(each).total(), each.cpu_seconds()) for each in sidecars]
    outcome = generate(
        bench.stage, sidecars[0].port, Load(wire.SMALL_WRITE, SESSIONS, bench.options.seconds, CONNECTIONS)
    )
    moved = meter.moved()
    requests, cpu = zip(
        *(
            (decisions_of(each).total() - made, each.cpu_seconds() - used)
            for each, (made, used) in zip(sidecars, before, strict=True)
        ),
        strict=True,
    )
    why = outcome.errors or meter.trouble(moved, Expected(outcome.requests, CONNECTIONS, {"known"}))
    why = why or ("" if all(requests) else "one sidecar was sent nothing")
    figures = {
        "requests_per_s": outcome.rate,
        "requests_per_cpu_s": sum(each / used for each, used in zip(requests, cpu, strict=True)),
        "busiest_full_per_s": sum(requests) / max(cpu),
        "busiest_share": max(requests) / max(1, sum(requests)),
    }
    return Sample(CASE, name, number, figures, why)
