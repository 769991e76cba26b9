"""How much is measured: the whole run, or a quick one while developing."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Options:
    """Seconds are per measurement, first writes and revocations are of the whole run.

    A bar needs more `rounds` than what is shown `beside` it, for which a median is enough; where figures scatter and
    come `close` to their bars, it needs the most. `sizes` are known sessions, of which the first and the last are
    compared; `tails` says whether each is also measured by itself, and while its sessions expire.
    """

    close: int = 31
    rounds: int = 15
    beside: int = 7
    seconds: int = 2
    latency_seconds: int = 5
    first_writes: int = 100_000
    simultaneous: int = 1000
    sizes: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    tails: bool = True
    revocations: int = 700

    def with_rounds(self, rounds: int) -> Options:
        return replace(self, close=rounds, rounds=rounds, beside=min(rounds, self.beside))


BARS = Options(
    close=15,
    rounds=7,
    beside=3,
    seconds=1,
    latency_seconds=3,
    first_writes=30_000,
    sizes=(1_000, 1_000_000),
    tails=False,
    revocations=210,
)
"""What the bars of speed need, and a median of the alternatives."""

QUICK = Options(
    close=2,
    rounds=2,
    beside=1,
    seconds=1,
    latency_seconds=3,
    first_writes=5_000,
    sizes=(200, 2_000, 10_000),
    revocations=40,
)
