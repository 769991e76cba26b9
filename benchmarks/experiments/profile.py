"""Where the sidecar spends its time on writes for known sessions: py-spy's samples, by function.

The pure build is under the profiler, since of compiled functions it sees no names.
"""

from __future__ import annotations

import subprocess
from collections import Counter

from benchmarks import machine, wire
from benchmarks.bench import Bench
from benchmarks.experiments.measure import warm
from benchmarks.figures import shares
from benchmarks.lineup import PURE, PURE_FAST_PATH_OFF
from benchmarks.load import Load, generate
from benchmarks.processes import FIXED_CORE, Failed
from benchmarks.samples import Sample
from benchmarks.stage import Running

CASE = "profile"
SECONDS, SAMPLES_PER_S = 8, 400
SHOWN = 30


def run(bench: Bench) -> None:
    for contender in (PURE, PURE_FAST_PATH_OFF) if bench.present([PURE]) else ():
        bench.say(f"profile: {contender.name}")
        with bench.stage.running(contender) as running:
            warm(bench.stage, running, 1000)
            stacks = _sample(bench, running)
        own = Counter[str]()
        for stack, count in stacks.items():
            own[stack.rpartition(";")[2]] += count
        bench.samples.add(Sample(CASE, contender.name, 0, shares(own, SHOWN)))


def _sample(bench: Bench, running: Running) -> dict[str, int]:
    """Stack -> how often it was seen while under load. Raises Failed where py-spy may not look."""
    path = running.folder / "stacks"
    argv = ["taskset", "--cpu-list", str(FIXED_CORE), str(machine.BIN / "py-spy"), "record", "--function"]
    argv += ["--rate", str(SAMPLES_PER_S), "--duration", str(SECONDS - 1), "--format", "raw", "--output", str(path)]
    argv += ["--pid", str(running.processes[-1].pid)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as spy:
        generate(bench.stage, running.port, Load(wire.SMALL_WRITE, 1000, SECONDS))
        _, error = spy.communicate()
    if not path.exists():
        raise Failed(f"py-spy: {error.strip()}")
    lines = (line.rpartition(" ") for line in path.read_text().splitlines())
    return {stack: int(count) for stack, _, count in lines}
