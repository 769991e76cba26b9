"""Where results go: the terminal, one JSON file, and a page of the docs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import rich.box
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.bars import Verdict
from benchmarks.samples import Samples
from benchmarks.tables import Table

INTRODUCTION = """\
# Benchmark results

Written by `benchmarks/run`; how to take them again is in [benchmarks.md](benchmarks.md). Each cell is the median over
the rounds ± half the distance between the lowest and the highest. Ratios are taken within a round; beside their median
is the 95 % bootstrap interval, and a bar holds when the less favourable end of it does. "core" is the share of its core
that a contender used + the share that anything else took; ▲ says that the core had time to spare, so that generator or
upstream, which share the other core, were the ceiling.

"""


def to_terminal(console: Console, tables: Sequence[Table]) -> None:
    for table in tables:
        if table.rows:
            grid = Grid(*table.header, title=table.title, title_justify="left", box=rich.box.SIMPLE_HEAD)
            for row in table.rows:
                grid.add_row(*row)
            console.print(grid)
    console.print("±: half the distance from the lowest to the highest round. core: used by the contender + by others.")
    console.print("▲: the core had time to spare; generator or upstream, on the other core, were the ceiling.")


def to_json(path: Path, samples: Samples, facts: Mapping[str, str], verdicts: Sequence[Verdict]) -> None:
    judged = [
        {
            "bar": each.bar.title,
            "at_least": each.bar.at_least,
            "at_most": each.bar.at_most,
            "median": each.interval and each.interval.median,
            "interval": each.interval and [each.interval.low, each.interval.high],
            "holds": each.holds,
        }
        for each in verdicts
    ]
    document = {"machine": dict(facts), "bars": judged, **samples.as_json()}
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def to_page(path: Path, facts: Mapping[str, str], tables: Sequence[Table], plots: Sequence[str]) -> None:
    lines = ["## Machine", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    for table in tables:
        if table.rows:
            lines += [f"## {table.title}", "", _row(table.header), "|---" * len(table.header) + "|"]
            lines += [*(_row(row) for row in table.rows), ""]
    lines += [f"![{Path(plot).stem.replace('-', ' ')}]({plot})\n" for plot in plots]
    path.write_text(INTRODUCTION + "\n".join(lines).rstrip() + "\n")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
