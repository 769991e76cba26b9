"""What every experiment is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.lineup import Contender
from benchmarks.options import Options
from benchmarks.samples import Samples
from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True)
class Bench:
    """`say` tells a person what is being measured now."""

    stage: Stage
    options: Options
    contenders: Sequence[Contender]
    say: Callable[[str], None]
    samples: Samples = field(default_factory=Samples)

    def present(self, among: Iterable[Contender]) -> list[Contender]:
        """Those that were asked for and that are here."""
        return [each for each in among if each in self.contenders and each.name not in self.samples.missing]
