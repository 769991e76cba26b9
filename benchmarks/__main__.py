"""The command line of the benchmark: what to measure, in which order, and where the results go."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks import bars, machine, plots, report, tables
from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.experiments import (
    first_writes,
    flat,
    hosted,
    latency,
    overtaking,
    profile,
    revocation,
    several,
    throughput,
)
from benchmarks.lineup import BY_NAME
from benchmarks.options import BARS, QUICK, Options
from benchmarks.processes import FIXED_CORE, Failed
from benchmarks.samples import Samples
from benchmarks.stage import standing

EXPERIMENTS: dict[str, Callable[[Bench], None]] = {
    "latency": latency.run,
    "first-writes": first_writes.run,
    "several": several.run,
    "hosted": hosted.run,
    "flat": flat.run,
    "revocation": revocation.run,
    "overtaking": overtaking.run,
    "profile": profile.run,
}
ALL = [*(case.name for case in CASES), *EXPERIMENTS]
TABLE_WIDTH = 130
RESULTS = machine.BENCHMARKS / "results"
DOCS = machine.ROOT / "docs"


def main() -> None:
    arguments = _parser().parse_args()
    console = Console(width=max(Console().width, TABLE_WIDTH))
    chosen = bars.SPEED if arguments.bars else bars.BARS
    names = arguments.cases or [name for name in ALL if not arguments.bars or _is_judged(name, chosen)]
    contenders = [BY_NAME[name] for name in arguments.contenders or BY_NAME]
    options = _options(arguments)
    os.sched_setaffinity(0, {FIXED_CORE})
    facts, begin, ticks = machine.description(), time.monotonic(), machine.steal_and_total()
    with standing(machine.programs()) as stage:
        bench = Bench(stage, options, contenders, lambda case: bars.compared(case, chosen), _say(console))
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
    _publish(console, bench.samples, facts, bars.judge(bench.samples, chosen), _place(arguments))


def _is_judged(name: str, chosen: Sequence[bars.Bar]) -> bool:
    """Whether a bar stands on what this case, or one of this experiment, measures."""
    return any(bars.compared(case, chosen) for case in (flat.CASES if name == "flat" else (name,)))


def _say(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(f"[dim]{text}", highlight=False)


class Place(NamedTuple):
    """Where the results of a run go."""

    folder: Path
    page: Path
    pictures: Path


def _place(arguments: argparse.Namespace) -> Place:
    """Only a complete run, or one of all bars of speed, replaces the results that the docs show."""
    if arguments.cases or arguments.contenders or arguments.quick or arguments.rounds:
        return Place(RESULTS / "partial", RESULTS / "partial/results.md", RESULTS / "partial")
    return Place(RESULTS, DOCS / "developers/benchmark-results.md", DOCS / "assets/benchmarks")


def _publish(
    console: Console, samples: Samples, facts: dict[str, str], verdicts: list[bars.Verdict], place: Place
) -> None:
    folder, page, pictures = place
    for each in (folder, pictures):
        each.mkdir(parents=True, exist_ok=True)
    made = [tables.bars(verdicts), *tables.results(samples), tables.troubles(samples)]
    report.to_terminal(console, made)
    report.to_json(folder / "results.json", samples, facts, verdicts)
    drawn = plots.draw(samples, pictures)
    report.to_page(page, facts, made, [os.path.relpath(pictures / each, page.parent) for each in drawn])
    console.print(f"written: {Path(os.path.relpath(folder))}/results.json, {', '.join(drawn) or 'no plots'}")


def _options(arguments: argparse.Namespace) -> Options:
    chosen = QUICK if arguments.quick else BARS if arguments.bars else Options()
    return chosen.with_rounds(arguments.rounds) if arguments.rounds else chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description="Measure the sidecar beside other proxies.")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--bars", action="store_true", help="twenty minutes: what the bars of speed compare")
    how_much.add_argument("--quick", action="store_true", help="a few minutes, for development: no figure to quote")
    rounds = "rounds of what a bar compares (31 or 15; --bars: 15 or 7; --quick: 2)"
    parser.add_argument("--rounds", type=int, metavar="N", help=f"{rounds}; results go to partial/")
    parser.add_argument("--cases", nargs="+", choices=ALL, metavar="CASE", help=", ".join(ALL))
    parser.add_argument("--contenders", nargs="+", choices=BY_NAME, metavar="NAME", help=", ".join(BY_NAME))
    return parser


if __name__ == "__main__":
    main()
