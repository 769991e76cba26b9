"""The command line of the benchmark: what to measure, in which order, and where the results go."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import bars, machine, plots, report, tables
from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.experiments import first_writes, flat, latency, overtaking, profile, revocation, throughput
from benchmarks.lineup import BY_NAME, CONTENDERS
from benchmarks.options import QUICK, Options
from benchmarks.processes import FIXED_CORE, Failed
from benchmarks.samples import Samples
from benchmarks.stage import standing

EXPERIMENTS: dict[str, Callable[[Bench], None]] = {
    "latency": latency.run,
    "first-writes": first_writes.run,
    "flat": flat.run,
    "revocation": revocation.run,
    "overtaking": overtaking.run,
    "profile": profile.run,
}
TABLE_WIDTH = 130
RESULTS = machine.BENCHMARKS / "results"
PAGE = machine.ROOT / "docs/developers/benchmark-results.md"
PICTURES = machine.ROOT / "docs/assets/benchmarks"


def main() -> None:
    arguments = _parser().parse_args()
    console = Console(width=max(Console().width, TABLE_WIDTH))
    names = arguments.cases or [*(case.name for case in CASES), *EXPERIMENTS]
    contenders = [BY_NAME[name] for name in arguments.contenders] if arguments.contenders else list(CONTENDERS)
    options = _options(arguments)
    complete = not (arguments.cases or arguments.contenders or arguments.quick)
    os.sched_setaffinity(0, {FIXED_CORE})
    facts, begin, ticks = machine.description(), time.monotonic(), machine.steal_and_total()
    with standing(machine.programs()) as stage:
        bench = Bench(stage, options, contenders, lambda text: console.print(f"[dim]{text}", highlight=False))
        bench.samples.missing |= {each.name: why for each in contenders if (why := stage.missing(each))}
        if cases := [case for case in CASES if case.name in names]:
            throughput.run(bench, cases)
        for name in names:
            if name in EXPERIMENTS:
                try:
                    EXPERIMENTS[name](bench)
                except (Failed, OSError) as failure:
                    bench.samples.missing[f"the rest of {name}"] = str(failure)
    stolen, total = (now - then for now, then in zip(machine.steal_and_total(), ticks, strict=True))
    facts |= {
        "rounds": f"{options.close} of known, flat, latency; {options.rounds} of other bars; {options.beside} beside",
        "minutes": f"{(time.monotonic() - begin) / 60:.0f}",
        "processor time taken by other machines": f"{stolen / total:.1%}",
    }
    _publish(console, bench.samples, facts, complete=complete)


def _publish(console: Console, samples: Samples, facts: dict[str, str], *, complete: bool) -> None:
    """Only a complete run replaces the results that the docs show."""
    folder = RESULTS if complete else RESULTS / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = bars.judge(samples)
    made = [tables.bars(verdicts), *tables.results(samples), tables.troubles(samples)]
    report.to_terminal(console, made)
    report.to_json(folder / "results.json", samples, facts, verdicts)
    pictures = PICTURES if complete else folder
    drawn = plots.draw(samples, pictures)
    page = PAGE if complete else folder / "results.md"
    report.to_page(page, facts, made, [os.path.relpath(pictures / each, page.parent) for each in drawn])
    console.print(f"written: {Path(os.path.relpath(folder))}/results.json, {', '.join(drawn) or 'no plots'}")


def _options(arguments: argparse.Namespace) -> Options:
    chosen = QUICK if arguments.quick else Options()
    return chosen.with_rounds(arguments.rounds) if arguments.rounds else chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description="Measure the sidecar beside other proxies.")
    parser.add_argument("--quick", action="store_true", help="a few minutes, for development: no figure to quote")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of what a bar compares (31 or 15, quick: 2)")
    cases = [*(case.name for case in CASES), *EXPERIMENTS]
    parser.add_argument("--cases", nargs="+", choices=cases, metavar="CASE", help=", ".join(cases))
    parser.add_argument("--contenders", nargs="+", choices=BY_NAME, metavar="NAME", help=", ".join(BY_NAME))
    return parser


if __name__ == "__main__":
    main()
