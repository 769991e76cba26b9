"""Known sessions by the million: rate and p99.9 stay flat, also while they expire, and each costs little memory.

One sidecar for each size stands ready on the contender's core. One at a time is under load, for the tails; then the
smallest and the largest at once, because the machine's speed changes more from second to second than sizes differ.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks import wire
from benchmarks.bench import Bench, rotated
from benchmarks.experiments.measure import Mark, measure, measure_at_once, warm
from benchmarks.lineup import SIDECAR
from benchmarks.load import Load
from benchmarks.options import Options
from benchmarks.processes import Failed
from benchmarks.samples import Sample, Samples
from benchmarks.stage import Running, Stage

FLAT, AT_ONCE, MEMORY = "flat", "flat-at-once", "memory"
EXPIRING, BOTH_EXPIRING = "expiring", "expiring-at-once"
CASES = (FLAT, AT_ONCE, MEMORY, EXPIRING, BOTH_EXPIRING)
MIXED = ("known", "created")
HALF_OF_THE_CONNECTIONS = 16
KNOWN, WHILE_EXPIRING, NOTHING_EXPIRES = "{:,} known", "{:,} expiring", "{:,}, the same load"
JITTER = 0.1
"""An entry may expire this share of its life early."""

ID_STRINGS = sys.getsizeof(wire.session_id(0)) + sys.getsizeof(wire.user_id(0))
HOT, HOT_SESSIONS = 30_000_000, 1000
SPARE_S, LONG_S, MOST_WARMING_S = 20.0, 80_000, 1200.0
EXPIRING_S = 4.0
"""One measurement while entries expire; all of them together take a part of the time that it lasts."""


def run(bench: Bench) -> None:
    if not bench.present([SIDECAR]):
        return
    options = bench.options
    *smaller, large = options.sizes
    with contextlib.ExitStack() as stack:
        ready: dict[int, Running] = {}
        pace = 0.0
        for size in smaller:
            bench.say(f"flat: making {size:,} sessions known")
            ready[size], pace = _stand(bench.stage, stack, size, life=LONG_S)
        if large / pace > MOST_WARMING_S:
            raise Failed(f"{large:,} first writes would take {large / pace:.0f} s")
        life = LONG_S
        if options.tails:
            life = math.ceil((1.2 * large / pace + _flat_seconds(options) + SPARE_S) / (1 - JITTER))
        bench.say(f"flat: making {large:,} sessions known, about {large / pace:.0f} s")
        first_expiry = time.monotonic() + life * (1 - JITTER)
        ready[large], pace = _stand(bench.stage, stack, large, life=life)
        _memory(bench.samples, ready)
        for number, size in _alternating(options) if options.tails else ():
            bench.say(f"flat, round {number + 1} of {options.close}: {size:,} known")
            mark = Mark(FLAT, KNOWN.format(size), number, {"known"})
            load = Load(wire.SMALL_WRITE, size, options.seconds, order="random, written anew")
            bench.samples.add(measure(bench.stage, ready[size], load, mark))
        _at_once(bench, ready)
        if not options.tails:
            return
        bench.say("flat: waiting for the first to expire")
        time.sleep(max(0.0, first_expiry - time.monotonic()))
        lasts = large / pace + JITTER * life
        _while_expiring(bench, ready, math.ceil(min(EXPIRING_S, lasts / options.close / 3)))


def _stand(stage: Stage, stack: contextlib.ExitStack, size: int, life: float) -> tuple[Running, float]:
    """A sidecar with `size` known sessions, and how many it learnt a second."""
    env = {"SIDECAR_CACHE_SIZE": str(2 * size + 100_000), "SIDECAR_CACHE_TTL": f"{life}s"}
    running = stack.enter_context(stage.running(SIDECAR, env))
    return running, warm(stage, running, size).rate


def _flat_seconds(options: Options) -> float:
    """A generous bound of what the flat rounds take, the settling of counters included."""
    return (sum(1 for _ in _alternating(options)) + options.close) * (options.seconds + 1.5)


def _alternating(options: Options) -> Iterator[tuple[int, int]]:
    """Round after round the smallest and the largest size in turn; the others, which no bar compares, before them."""
    small, *others, large = options.sizes
    for number in range(options.close):
        if number < options.beside:
            yield from ((number, size) for size in others)
        yield from ((number, size) for size in rotated((small, large), number))


def _at_once(bench: Bench, ready: dict[int, Running]) -> None:
    """The smallest and the largest share the core and the seconds, each with half of the connections."""
    small, *_, large = bench.options.sizes
    for number in range(bench.options.close):
        bench.say(f"flat, round {number + 1} of {bench.options.close}: {small:,} and {large:,} at once")
        parts = []
        for size in rotated((small, large), number):
            mark = Mark(AT_ONCE, KNOWN.format(size), number, {"known"})
            load = Load(wire.SMALL_WRITE, size, bench.options.seconds, order="random, written anew")
            parts.append((ready[size], replace(load, connections=HALF_OF_THE_CONNECTIONS), mark))
        for sample in measure_at_once(bench.stage, parts):
            bench.samples.add(sample)


def _memory(samples: Samples, ready: dict[int, Running]) -> None:
    """What each session beyond the smallest size added to resident memory, with and without its two id strings."""
    (small, base), *others = ready.items()
    for size, running in others:
        each = (running.resident_bytes() - base.resident_bytes()) / (size - small)
        figures = {"bytes_per_session": each, "beyond_ids_bytes": each - ID_STRINGS}
        samples.add(Sample(MEMORY, KNOWN.format(size), 0, figures))


def _while_expiring(bench: Bench, ready: dict[int, Running], seconds: int) -> None:
    """Hot sessions made anew each time, and one request in a hundred a first write, while the old million expires."""
    sizes, rounds = bench.options.sizes, bench.options.close
    labels = {WHILE_EXPIRING.format(sizes[-1]): sizes[-1], NOTHING_EXPIRES.format(sizes[0]): sizes[0]}
    for number in range(rounds):
        first = HOT + number * 1_000_000
        parts = [
            (ready[size], _hot(bench, ready[size], seconds, first), Mark(EXPIRING, label, number, MIXED))
            for label, size in rotated(list(labels.items()), number)
        ]
        for part in parts:
            bench.say(f"flat, round {number + 1} of {rounds}: {part[-1].contender}")
            bench.samples.add(measure(bench.stage, *part))
        bench.say(f"flat, round {number + 1} of {rounds}: both at once")
        halves = []
        for running, _, mark in parts:
            load = replace(_hot(bench, running, seconds, first + 500_000), connections=HALF_OF_THE_CONNECTIONS)
            halves.append((running, load, replace(mark, case=BOTH_EXPIRING)))
        for sample in measure_at_once(bench.stage, halves):
            bench.samples.add(sample)


def _hot(bench: Bench, running: Running, seconds: int, first: int) -> Load:
    """A load of sessions made known just now, and of new ones."""
    warm(bench.stage, running, HOT_SESSIONS, first=first)
    return Load(wire.SMALL_WRITE, HOT_SESSIONS, seconds, order="mixed", first=first)
