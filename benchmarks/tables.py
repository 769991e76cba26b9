"""What was measured, as tables of text: the same ones go to the terminal and into the docs."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.bars import Bar, Verdict
from benchmarks.cases import CASES
from benchmarks.experiments import profile
from benchmarks.figures import bootstrap_median, paired_ratios, spread
from benchmarks.samples import Samples

SIDECAR = "sidecar"
IDLE_ABOVE = 0.1
"""A contender whose core had this much time to spare was not what held the rate back."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a case: median over the rounds, lowest and highest beside it."""

    title: str
    figure: str
    decimals: int = 0


LATENCIES = (Column("p50 ms", "p50_ms", 2), Column("p99 ms", "p99_ms", 2), Column("p99.9 ms", "p999_ms", 2))
RATES = (Column("req/s", "requests_per_s"), Column("req/CPU s", "requests_per_cpu_s"), *LATENCIES)
ADDED = (
    Column("p50 added", "added_p50_ms", 3),
    Column("p99 added", "added_p99_ms", 3),
    Column("p99.9 added", "added_p999_ms", 3),
)
CALLS = (Column("calls", "session_calls"), Column("all answered, ms", "all_answered_ms"))
BYTES = (Column("bytes each", "bytes_per_session"), Column("beyond the two ids", "beyond_ids_bytes"))
BULK = Column("MB/s received", "megabytes_per_s")

# Case -> its title and columns, where it is no throughput case.
OTHERS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "start-up": ("From the start of the process to the first answer", (Column("ms", "start_up_ms"),)),
    "latency": ("Latency at 500 requests a second, and what is added to the direct connection", (*LATENCIES, *ADDED)),
    "first-writes": ("First writes beside known sessions", RATES),
    "one-id-at-once": ("One new id from 1,000 clients at once", CALLS),
    "flat": ("Many known sessions", RATES),
    "flat-at-once": ("The smallest and the largest number at once, sharing the core", RATES[:2]),
    "expiring": ("Known sessions while others expire, one request in a hundred a first write", RATES),
    "expiring-at-once": ("The same at once, sharing the core", RATES[:2]),
    "memory": ("Resident memory of a known session", BYTES),
    "revocation": (
        "From the answer to DELETE to the first 410, ms",
        (Column("p50", "p50_ms", 1), Column("p99", "p99_ms", 1), Column("longest", "max_ms", 1)),
    ),
    "several": (
        "Sidecars on one port, known session, 256 connections",
        (
            *RATES[:2],
            Column("req/s when the busiest is full", "busiest_full_per_s"),
            Column("share of the busiest", "busiest_share", 2),
        ),
    ),
    "hosted": (
        "An ASGI application, known session: by itself, wrapped, and behind a hop",
        (*RATES[:2], Column("CPU µs each", "cpu_us", 1), Column("added", "added_us", 1)),
    ),
    "overtaking": (
        "Of 400 POSTs, those before the GET that was sent earlier on another connection",
        (Column("GET on a new one", "overtaken_on_new"), Column("GET on a kept one", "overtaken_on_kept")),
    ),
}


def bars(verdicts: list[Verdict]) -> Table:
    rows = tuple((each.bar.title, _wanted(each.bar), *_judged(each)) for each in verdicts)
    return Table("Bars", ("bar", "wanted", "median", "interval", "holds"), rows)


def results(samples: Samples) -> list[Table]:
    titles = {case.name: case.title for case in CASES}
    made = []
    for case in samples.cases():
        if case in titles:
            columns = (BULK, *RATES) if case == "large-download" else RATES
            made.append(_throughput(samples, case, titles[case], columns))
        elif case == profile.CASE:
            made.append(_profile(samples))
        else:
            made.append(_plain(samples, case, *OTHERS[case]))
    return made


def troubles(samples: Samples) -> Table:
    """Samples that do not count, and contenders that are not here."""
    rows = [(each.case, each.contender, str(each.round + 1), each.trouble) for each in samples.troubles()]
    rows += [("", name, "", why.strip().splitlines()[-1]) for name, why in samples.missing.items()]
    return Table("Left out", ("case", "contender", "round", "why"), tuple(rows))


def _throughput(samples: Samples, case: str, title: str, columns: tuple[Column, ...]) -> Table:
    rows = []
    for contender in samples.contenders(case):
        cells = (_cell(samples, case, contender, column) for column in columns)
        ratios = (_beside(samples, case, contender, figure) for figure in ("requests_per_s", "requests_per_cpu_s"))
        rows.append((contender, *cells, *ratios, _core(samples, case, contender)))
    header = ("", *(column.title for column in columns), "sidecar ÷ this", "by CPU s", "core")
    return Table(title, header, tuple(rows))


def _plain(samples: Samples, case: str, title: str, columns: tuple[Column, ...]) -> Table:
    rows = (
        (contender, *(_cell(samples, case, contender, column) for column in columns))
        for contender in samples.contenders(case)
    )
    return Table(title, ("", *(column.title for column in columns)), tuple(rows))


def _profile(samples: Samples) -> Table:
    """Own time by function, without what it calls; system calls count for the function that makes them."""
    rows = [
        (each.contender, function, f"{share:.1%}")
        for each in samples.taken
        if each.case == profile.CASE
        for function, share in each.figures.items()
    ]
    return Table("Where the time goes, known session", ("", "function", "own time"), tuple(rows))


def _cell(samples: Samples, case: str, contender: str, column: Column) -> str:
    """The median, with half the distance from the lowest to the highest round beside it."""
    values = list(samples.of(case, contender, column.figure).values())
    if not values:
        return "–"
    middle = spread(values)
    median = f"{middle.median:,.{column.decimals}f}"
    return median if len(values) == 1 else f"{median} ±{(middle.highest - middle.lowest) / 2:,.{column.decimals}f}"


def _beside(samples: Samples, case: str, contender: str, figure: str) -> str:
    ratios = paired_ratios(*(samples.of(case, name, figure) for name in (SIDECAR, contender)))
    if contender == SIDECAR or not ratios:
        return "–"
    interval = bootstrap_median(ratios)
    return f"{interval.median:.2f} ({interval.low:.2f}–{interval.high:.2f})"


def _core(samples: Samples, case: str, contender: str) -> str:
    """How much of its core a contender used, how much others took, and whether the ceiling was elsewhere."""
    shares, idles = (list(samples.of(case, contender, name).values()) for name in ("core_share", "core_idle"))
    if not shares:
        return "–"
    share, idle = spread(shares).median, spread(idles).median
    ceiling = " ▲" if idle > IDLE_ABOVE else ""
    return f"{share:.0%} + {max(0.0, 1 - share - idle):.0%}{ceiling}"


def _wanted(bar: Bar) -> str:
    return f"≥ {bar.at_least:g}" if bar.at_least is not None else f"≤ {bar.at_most:g}"


def _judged(verdict: Verdict) -> tuple[str, str, str]:
    if verdict.interval is None:
        return "–", "–", "not measured"
    interval = verdict.interval
    return f"{interval.median:.2f}", f"{interval.low:.2f} – {interval.high:.2f}", "yes" if verdict.holds else "no"
