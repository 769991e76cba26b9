"""What was measured: one sample a case, contender and round, with its figures and whether it may count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """`trouble` says why the sample does not count; `figures` are in the unit that their names end in."""

    case: str
    contender: str
    round: int
    figures: Mapping[str, float]
    trouble: str = ""


@dataclass(slots=True)
class Samples:
    """All samples of a run, and the contenders that could not take part."""

    taken: list[Sample] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        self.taken.append(sample)

    def of(self, case: str, contender: str, figure: str) -> dict[int, float]:
        """Round -> figure, of the samples that count."""
        return {
            each.round: each.figures[figure]
            for each in self.taken
            if (each.case, each.contender) == (case, contender) and not each.trouble and figure in each.figures
        }

    def troubles(self) -> Iterator[Sample]:
        return (each for each in self.taken if each.trouble)

    def cases(self) -> list[str]:
        return list(dict.fromkeys(each.case for each in self.taken))

    def contenders(self, case: str) -> list[str]:
        return list(dict.fromkeys(each.contender for each in self.taken if each.case == case))

    def as_json(self) -> dict[str, object]:
        return {"missing": self.missing, "samples": [asdict(each) for each in self.taken]}
