"""The plots: rates, ratios, latency added, and flatness, one PNG each."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.cases import CASES
from benchmarks.figures import bootstrap_median, paired_ratios, spread
from benchmarks.samples import Samples

mpl.use("agg")
OURS, OTHERS = "#c2410c", "#64748b"
PERCENTILES = {"p50": "added_p50_ms", "p99": "added_p99_ms", "p99.9": "added_p999_ms"}


def draw(samples: Samples, folder: Path) -> list[str]:
    """Draw what was measured; the names of the files made."""
    plots = {
        "known-session.png": _rates,
        "ratios.png": _ratios,
        "latency-added.png": _latency,
        "many-sessions.png": _flat,
    }
    made = []
    for name, plot in plots.items():
        (folder / name).unlink(missing_ok=True)
        figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
        plot(samples, axes)
        if axes.has_data():
            axes.spines["top"].set_visible(False)
            figure.savefig(folder / name, dpi=110)
            made.append(name)
        plt.close(figure)
    return made


def _rates(samples: Samples, axes: Axes) -> None:
    rates = {name: list(samples.of("known", name, "requests_per_s").values()) for name in samples.contenders("known")}
    middles = sorted(((spread(each), name) for name, each in rates.items() if each), key=lambda pair: pair[0].median)
    for place, (middle, name) in enumerate(middles):
        whiskers = [[middle.median - middle.lowest], [middle.highest - middle.median]]
        colour = OURS if name.startswith("sidecar") else OTHERS
        axes.barh(place, middle.median, xerr=whiskers, color=colour, ecolor="black", capsize=3)
        axes.annotate(f" {middle.median:,.0f}", (middle.highest, place), va="center")
    axes.set_yticks(range(len(middles)), [name for _, name in middles])
    axes.set_xlabel("requests a second on one core: median, lowest and highest round")
    axes.set_title("Writes for known sessions")


def _ratios(samples: Samples, axes: Axes) -> None:
    others = ("nginx", "nginx + Lua", "Envoy", "sidecar, fast path off")
    cases = [case for case in CASES if samples.of(case.name, "sidecar", "requests_per_s")]
    for shift, other in enumerate(others):
        for place, case in enumerate(cases):
            rates = (samples.of(case.name, name, "requests_per_s") for name in ("sidecar", other))
            if ratios := paired_ratios(*rates):
                middle = bootstrap_median(ratios)
                whiskers = [[middle.median - middle.low], [middle.high - middle.median]]
                at = place + (shift - 1.5) / 5
                axes.errorbar(at, middle.median, whiskers, fmt="o", color=f"C{shift}", label=other, capsize=3)
    if cases:
        axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(cases)), [case.name for case in cases], rotation=20)
    axes.set_ylabel("sidecar ÷ other, with bootstrap interval")
    axes.set_title("Requests a second beside others, within the same rounds")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if unique:
        axes.legend(unique.values(), unique.keys())


def _latency(samples: Samples, axes: Axes) -> None:
    names = [name for name in samples.contenders("latency") if samples.of("latency", name, "added_p50_ms")]
    for shift, name in enumerate(names):
        middles = [spread(list(samples.of("latency", name, figure).values())) for figure in PERCENTILES.values()]
        places = [place + (shift - len(names) / 2) / (len(names) + 2) for place in range(len(PERCENTILES))]
        low = [each.median - each.lowest for each in middles]
        high = [each.highest - each.median for each in middles]
        medians = [each.median for each in middles]
        axes.errorbar(places, medians, [low, high], fmt="o", capsize=3, label=name)
    axes.set_xticks(range(len(PERCENTILES)), PERCENTILES.keys())
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylabel("ms added to the direct connection")
    axes.set_title("Latency added at 500 requests a second")
    if names:
        axes.legend()


def _flat(samples: Samples, axes: Axes) -> None:
    names = [*samples.contenders("flat"), *samples.contenders("expiring")]
    cases = ["flat"] * len(samples.contenders("flat")) + ["expiring"] * len(samples.contenders("expiring"))
    tails = axes.twinx()
    tails.set_ylabel("p99.9, ms (dots)")
    tails.set_ylim(bottom=0)
    for place, (case, name) in enumerate(zip(cases, names, strict=True)):
        rates = list(samples.of(case, name, "requests_per_s").values())
        if rates:
            axes.bar(place, spread(rates).median, color=OTHERS, width=0.6)
            tail = spread(list(samples.of(case, name, "p999_ms").values()))
            tails.plot(place, tail.median, "o", color=OURS)
            tails.set_ylim(0, max(tails.get_ylim()[1], tail.median * 1.3))
    axes.set_xticks(range(len(names)), names, rotation=15)
    axes.set_ylabel("requests a second (bars)")
    axes.set_title("Many known sessions")
