"""The bars as data, and whether a run clears them: a ratio counts by the less favourable end of its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.experiments import first_writes, flat, hosted, latency, revocation, several
from benchmarks.figures import Interval, bootstrap_median, holds, paired_ratios
from benchmarks.samples import Samples

SMALL, LARGE = 1_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Bar:
    """`of` divided by `over` in each round, or `of` by itself where there is nothing to divide by."""

    title: str
    case: str
    figure: str
    of: str
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None


def _rate(title: str, over: str, at_least: float, of: str = "sidecar", case: str = "known") -> Bar:
    return Bar(title, case, "requests_per_s", of, over, at_least=at_least)


def _by_cpu(title: str, over: str, at_least: float, of: str = "sidecar", case: str = "known") -> Bar:
    """Requests per second of processor time: what a contender needs, wherever the ceiling of the rate was."""
    return Bar(title, case, "requests_per_cpu_s", of, over, at_least=at_least)


SPEED = (
    _by_cpu("Known session ÷ nginx + Lua", "nginx + Lua", 1.0),
    _by_cpu("… ÷ plain Envoy", "Envoy", 2.3),
    _by_cpu("… pure build ÷ nginx + Lua", "nginx + Lua", 0.8, "sidecar, pure"),
    _by_cpu("… fast path off ÷ plain Envoy", "Envoy", 1.2, "sidecar, fast path off"),
    _by_cpu("MCP tools/call ÷ nginx + Lua", "nginx + Lua", 0.9, case="tools-call"),
    _by_cpu("Chinese as UTF-8 ÷ nginx + Lua", "nginx + Lua", 0.95, case="chinese-raw"),
    _by_cpu("Chinese as \\uXXXX ÷ nginx + Lua", "nginx + Lua", 0.95, case="chinese-escaped"),
    _by_cpu("Unguarded read ÷ nginx + Lua", "nginx + Lua", 0.8, case="pass-through"),
    _by_cpu("… ÷ plain Envoy", "Envoy", 2.0, case="pass-through"),
    _by_cpu("1 MiB write ÷ nginx + Lua", "nginx + Lua", 2.5, case="large-write"),
    _by_cpu("First writes ÷ nginx + Lua", "nginx + Lua: first", 0.9, "sidecar: first", first_writes.CASE),
    _rate("… ÷ known, rate", "sidecar: known", 0.15, "sidecar: first", first_writes.CASE),
    Bar("p50 added ÷ nginx's", latency.CASE, "added_p50_ms", "sidecar", "nginx", at_most=1.1),
    Bar("p99 added ÷ nginx's", latency.CASE, "added_p99_ms", "sidecar", "nginx", at_most=1.2),
    _rate("1,000,000 known ÷ 1,000, rate", "1,000 known", 0.95, "1,000,000 known", flat.AT_ONCE),
    Bar("Bytes a known session, beyond its ids", flat.MEMORY, "beyond_ids_bytes", "1,000,000 known", at_most=240),
    _by_cpu("Two sidecars on two cores ÷ one", "one sidecar", 1.8, "two sidecars", several.CASE),
    Bar("Revocation delay, p99, ms", revocation.CASE, "p99_ms", "sidecar", at_most=100),
    Bar("Added by wrap ÷ added by a hop", hosted.CASE, "added_us", hosted.WRAP, hosted.HOP, at_most=0.35),
)
"""What `--bars` measures; the sidecar is the compiled build where nothing else is said."""

SCALE = (
    _rate("Known session ÷ nginx auth_request, rate", "nginx auth_request", 2.2),
    _rate("… its checker on plain ASGI", "nginx auth_request, ASGI checker", 2.2),
    _rate("Known session ÷ Envoy ext_authz, rate", "Envoy ext_authz", 6),
    _rate("… its checker on plain ASGI", "Envoy ext_authz, ASGI checker", 6),
    _rate("Known session ÷ Starlette + httpx, rate", "Starlette + httpx", 60),
    Bar("Session calls for one id at once", first_writes.ONE_ID, "session_calls", "sidecar", at_most=1),
    Bar("1,000,000 known ÷ 1,000, p99.9", flat.FLAT, "p999_ms", "1,000,000 known", "1,000 known", at_most=2),
    _rate("1,000,000 expiring ÷ 1,000, rate", "1,000, the same load", 0.9, "1,000,000 expiring", flat.BOTH_EXPIRING),
    Bar("… p99.9", flat.EXPIRING, "p999_ms", "1,000,000 expiring", "1,000, the same load", at_most=2),
)
BARS = (*SPEED, *SCALE)


def compared(case: str, bars: Sequence[Bar] = BARS) -> frozenset[str]:
    """The names between which a bar decides in this case, and the pure build beside the compiled one."""
    names = frozenset(name for bar in bars if bar.case == case for name in (bar.of, bar.over) if name is not None)
    return names | {"sidecar, pure"} if "sidecar" in names else names


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what the run says of it; `interval` is None where it was not measured."""

    bar: Bar
    interval: Interval | None

    @property
    def holds(self) -> bool:
        if self.interval is None:
            return False
        return holds(self.interval, at_least=self.bar.at_least, at_most=self.bar.at_most)


def judge(samples: Samples, bars: Sequence[Bar] = BARS) -> list[Verdict]:
    return [Verdict(bar, _interval(samples, bar)) for bar in bars]


def _interval(samples: Samples, bar: Bar) -> Interval | None:
    of = samples.of(bar.case, bar.of, bar.figure)
    values = list(of.values()) if bar.over is None else paired_ratios(of, samples.of(bar.case, bar.over, bar.figure))
    return bootstrap_median(values) if values else None
