"""How much is measured: the whole run, or a quick one while developing."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Options:
    """Seconds are per measurement, first writes and revocations are of the whole run.

    A bar needs more `rounds` than what is shown `beside` it, for which a median is enough; where figures scatter and
    come `close` to their bars, it needs the most. `sizes` are known sessions, of which the first and the last are
    compared.
    """

    close: int = 31
    rounds: int = 15
    beside: int = 7
    seconds: int = 2
    latency_seconds: int = 5
    first_writes: int = 100_000
    simultaneous: int = 1000
    sizes: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    revocations: int = 700

    def with_rounds(self, rounds: int) -> Options:
        return replace(self, close=rounds, rounds=rounds, beside=min(rounds, self.beside))


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
