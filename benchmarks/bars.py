"""The bars as data, and whether a run clears them: a ratio counts by the less favourable end of its interval."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.experiments import first_writes, flat, latency, revocation
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


BARS = (
    _rate("Known session ÷ plain Envoy", "Envoy", 1.8),
    _rate("Known session ÷ nginx auth_request", "nginx auth_request", 2.2),
    _rate("… its checker on plain ASGI", "nginx auth_request, ASGI checker", 2.2),
    _rate("Known session ÷ nginx + Lua", "nginx + Lua", 0.7),
    _rate("Known session ÷ Envoy ext_authz", "Envoy ext_authz", 6),
    _rate("… its checker on plain ASGI", "Envoy ext_authz, ASGI checker", 6),
    _rate("Known session ÷ Starlette + httpx", "Starlette + httpx", 60),
    _rate("Known session, lane off ÷ plain Envoy", "Envoy", 0.9, of="sidecar, lane off"),
    Bar("p50 added ÷ nginx's", latency.CASE, "added_p50_ms", "sidecar", "nginx", at_most=3),
    Bar("p99 added ÷ nginx's", latency.CASE, "added_p99_ms", "sidecar", "nginx", at_most=3),
    _rate("First writes ÷ known", "sidecar: known", 0.1, "sidecar: first", first_writes.CASE),
    Bar("Session calls for one id at once", first_writes.ONE_ID, "session_calls", "sidecar", at_most=1),
    _rate("1,000,000 known ÷ 1,000", "1,000 known", 0.9, "1,000,000 known", flat.AT_ONCE),
    Bar("… p99.9", flat.FLAT, "p999_ms", "1,000,000 known", "1,000 known", at_most=2),
    _rate("1,000,000 expiring ÷ 1,000", "1,000, the same load", 0.9, "1,000,000 expiring", flat.BOTH_EXPIRING),
    Bar("… p99.9", flat.EXPIRING, "p999_ms", "1,000,000 expiring", "1,000, the same load", at_most=2),
    Bar("Bytes a known session, beyond its ids", flat.MEMORY, "beyond_ids_bytes", "1,000,000 known", at_most=400),
    Bar("Revocation delay, p99, ms", revocation.CASE, "p99_ms", "sidecar", at_most=100),
)


def compared(case: str) -> frozenset[str]:
    """The names between which a bar decides in this case."""
    return frozenset(name for bar in BARS if bar.case == case for name in (bar.of, bar.over) if name is not None)


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


def judge(samples: Samples) -> list[Verdict]:
    return [Verdict(bar, _interval(samples, bar)) for bar in BARS]


def _interval(samples: Samples, bar: Bar) -> Interval | None:
    of = samples.of(bar.case, bar.of, bar.figure)
    values = list(of.values()) if bar.over is None else paired_ratios(of, samples.of(bar.case, bar.over, bar.figure))
    return bootstrap_median(values) if values else None
