"""What every experiment is handed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.lineup import Contender
from benchmarks.options import Options
from benchmarks.samples import Samples
from benchmarks.stage import Stage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bench:
    """`compared` gives the names that bars compare in a case, and `say` tells a person what is being measured now."""

    stage: Stage
    options: Options
    contenders: Sequence[Contender]
    compared: Callable[[str], frozenset[str]]
    say: Callable[[str], None]
    samples: Samples = field(default_factory=Samples)

    def present(self, among: Iterable[Contender]) -> list[Contender]:
        """Those that were asked for and that are here."""
        return [each for each in among if each in self.contenders and each.name not in self.samples.missing]

    def turns(
        self, among: Sequence[Contender], compared: Collection[Contender], rounds: int
    ) -> Iterator[tuple[int, Contender]]:
        """Give the contenders, one after another."""
        for number, here in self.rounds(among, compared, rounds):
            for contender in here:
                yield number, contender

    def rounds(
        self, among: Sequence[Contender], compared: Collection[Contender], rounds: int
    ) -> Iterator[tuple[int, Sequence[Contender]]]:
        """Give each round with its contenders, and begin each with another.

        Those that no bar compares sit out once they have had the rounds that a median needs, which may be none.
        """
        for number in range(rounds):
            here = [each for each in self.present(among) if each in compared or number < self.options.beside]
            yield number, rotated(here, number)


def rotated(items: Sequence[T], number: int) -> Sequence[T]:
    """All items, beginning with another one in each round."""
    start = number % max(len(items), 1)
    return [*items[start:], *items[:start]]
