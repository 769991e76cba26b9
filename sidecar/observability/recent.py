"""The last problems of each kind, kept in memory for the dashboard."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

KEPT: Final = 10
"""Problems kept of each kind: a flood of one kind leaves the others in place. There are about twenty kinds."""


@dataclass(slots=True)
class Problems:
    """How many problems of one kind there were, and the last of them: when (epoch seconds) and what is known of it."""

    count: int = 0
    last: deque[tuple[float, Mapping[str, str]]] = field(default_factory=lambda: deque(maxlen=KEPT))


class RecentProblems:
    """Problems by kind: the reason of a refusal, or the name of a warning.

    `hide` takes from the fields what must not be shown.
    """

    def __init__(self, hide: Callable[[Mapping[str, str]], Mapping[str, str]] = dict) -> None:
        self._hide = hide
        self.kinds: defaultdict[str, Problems] = defaultdict(Problems)

    def add(self, kind: str, fields: Mapping[str, str]) -> None:
        problems = self.kinds[kind]
        problems.count += 1
        problems.last.append((time.time(), self._hide(fields)))
