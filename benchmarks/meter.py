"""Reads the counters that prove a measurement."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

from benchmarks.counts import Counts, Expected, decisions_in, trouble
from benchmarks.processes import get
from benchmarks.stage import Running, Stage

SETTLE_WITHIN_S = 20.0


def decisions_of(running: Running) -> Counter[str]:
    """What a sidecar has decided so far."""
    return decisions_in(get(running.admin, "/metrics"))


class Meter:
    """Reads the counters of the contenders under load; its own reads, which the upstream counts too, are left out."""

    def __init__(self, stage: Stage, *running: Running) -> None:
        self._stage = stage
        self._running = running
        self._reads = 0
        self._before = self.settled()

    def moved(self) -> Counts:
        """How far the counters are from where they stood at first, once they stand still again."""
        return self.settled() - self._before

    def trouble(self, moved: Counts, expected: Expected) -> str:
        """Why the load does not count, or nothing."""
        if not all(each.contender.is_sidecar for each in self._running):
            expected = replace(expected, decisions=None)
        return trouble(moved, expected)

    def settled(self) -> Counts:
        """The counters once they stand still: requests that an earlier load left behind are done."""
        deadline = time.monotonic() + SETTLE_WITHIN_S
        now = self._read()
        while time.monotonic() < deadline:
            time.sleep(0.1)
            last, now = now, self._read()
            if last == now:
                break
        return now

    def _read(self) -> Counts:
        decisions: Counter[str] = Counter()
        for each in self._running:
            if each.contender.is_sidecar:
                decisions += decisions_of(each)
        self._reads += 1
        # The third number of stub_status's third line counts requests.
        upstream = int(get(self._stage.upstream, "/benchmark/count").splitlines()[2].split()[2])
        puts = int(get(self._stage.session_service, "/benchmark/count"))
        return Counts(decisions, upstream - self._reads, puts)
