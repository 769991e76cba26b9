"""First writes: each makes one call to the session service, and a thousand at once for one id make one together."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

from benchmarks import wire
from benchmarks.bench import Bench
from benchmarks.counts import Expected
from benchmarks.experiments.measure import Mark, measure, warm
from benchmarks.lineup import NGINX_LUA, SIDECAR
from benchmarks.load import Load
from benchmarks.meter import Meter
from benchmarks.samples import Sample
from benchmarks.stage import Running

CASE, ONE_ID = "first-writes", "one-id-at-once"
KNOWN, FIRST = "{}: known", "{}: first"
CONTENDERS = (SIDECAR, NGINX_LUA)
UNSEEN, THE_ONE = 10_000_000, 20_000_000


def run(bench: Bench) -> None:
    for number, contender in bench.turns(CONTENDERS, CONTENDERS, bench.options.rounds):
        bench.say(f"first writes, round {number + 1}: {contender.name}")
        with bench.stage.running(contender) as running:
            warm(bench.stage, running, 1000)
            known = Load(wire.SMALL_WRITE, 1000, bench.options.seconds)
            mark = Mark(CASE, KNOWN.format(contender.name), number, {"known"})
            bench.samples.add(measure(bench.stage, running, known, mark))
            bench.samples.add(_first(bench, running, number))
            if contender.is_sidecar:
                bench.samples.add(_one_id(bench, running, number))


def _first(bench: Bench, running: Running, number: int) -> Sample:
    """Every id in turn; the few repeated at the end, before wrk stops, are known by then."""
    count = math.ceil(bench.options.first_writes / bench.options.rounds)
    load = Load(wire.SMALL_WRITE, count, 600, order="once", first=UNSEEN + number * count)
    mark = Mark(CASE, FIRST.format(running.contender.name), number, {"created", "known"})
    meter = Meter(bench.stage, running)
    sample = measure(bench.stage, running, load, mark)
    moved = meter.moved()
    created = count if running.contender.is_sidecar else 0
    if moved.puts == count and moved.decisions["created"] == created:
        return sample
    why = f"{count} new ids made {moved.puts} calls and decisions {dict(moved.decisions)}"
    return replace(sample, trouble=sample.trouble or why)


def _one_id(bench: Bench, running: Running, number: int) -> Sample:
    clients = bench.options.simultaneous
    meter = Meter(bench.stage, running)
    seconds, bad = asyncio.run(_all_at_once(running.port, wire.SMALL_WRITE.fill(THE_ONE), clients))
    moved = meter.moved()
    why = f"{bad} bad statuses" if bad else meter.trouble(moved, Expected(clients, 0, moved.decisions.keys()))
    figures = {"session_calls": float(moved.puts), "all_answered_ms": seconds * 1e3}
    return Sample(ONE_ID, running.contender.name, number, figures, why)


async def _all_at_once(port: int, request: bytes, clients: int) -> tuple[float, int]:
    """Connect every client, then let all of them write; seconds until the last answer, and how many were no 2xx."""
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    begin = time.perf_counter()
    for _, writer in pairs:
        writer.write(request)
    status_lines = await asyncio.gather(*(reader.readline() for reader, _ in pairs))
    seconds = time.perf_counter() - begin
    for _, writer in pairs:
        writer.close()
    return seconds, sum(b" 20" not in line[:12] for line in status_lines)
