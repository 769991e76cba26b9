"""The closed-loop generator: wrk on the fixed core, one thread, as many requests under way as connections."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import machine
from benchmarks.processes import FIXED_CORE, Failed
from benchmarks.stage import Stage
from benchmarks.wire import Template

SCRIPT = machine.BENCHMARKS / "requests.lua"


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: ids `first` to `first + sessions - 1`, in an `order` that requests.lua knows."""

    template: Template
    sessions: int
    seconds: float
    connections: int = 32
    order: str = "random"
    first: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What wrk says of a run; latencies in microseconds are those of a closed loop under full load.

    In the order "once" it tells no latencies.
    """

    requests: int
    seconds: float
    bad_status: int
    broken: int = 0
    timeouts: int = 0
    bytes: int = 0
    latency_us: Mapping[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def errors(self) -> str:
        counts = {"bad statuses": self.bad_status, "broken connections": self.broken, "timeouts": self.timeouts}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def generate(stage: Stage, port: int, load: Load) -> Outcome:
    """Run wrk once. Raises Failed."""
    template = stage.write(load.template, port)
    argv = ["taskset", "--cpu-list", str(FIXED_CORE), "env", f"LD_LIBRARY_PATH={stage.words['libraries']}"]
    argv += [stage.words["wrk"], "--threads", "1", "--timeout", "20s"]
    argv += ["--connections", str(load.connections), "--duration", f"{math.ceil(load.seconds)}s"]
    argv += ["--script", str(SCRIPT), f"http://127.0.0.1:{port}", "--"]
    argv += [str(template), str(load.first), str(load.sessions), load.order]
    return Outcome(**last_line(argv))


def last_line(argv: Sequence[str]) -> dict[str, Any]:
    """Run a generator from the project's root to its end; the JSON of the last line it wrote. Raises Failed."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=machine.ROOT)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)} failed: {done.stderr.strip()[-500:]}")
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document
