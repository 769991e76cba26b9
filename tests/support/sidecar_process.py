"""A real sidecar before an upstream of the test, without a session service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.processes import Running
from tests.support.ways import Way, sidecar_before


@dataclass
class SidecarProcess:
    """One such process."""

    process: Running

    @property
    def port(self) -> int:
        return int(self.process.addresses["listen"].rpartition(":")[2])

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds at the moment."""
        return int(psutil.Process(self.process.process.pid).memory_info().rss)


@contextlib.contextmanager
def sidecar_process(upstream: str, cwd: Path, way: Way = Way.FAST_PATH, **env: str) -> Iterator[SidecarProcess]:
    """Run one on a free port until the block ends, in one of the ways to put it before the upstream."""
    settings = {
        "SIDECAR_SESSION_SERVICE": "http://127.0.0.1:9",
        "SIDECAR_LISTEN": "127.0.0.1:0",
        "SIDECAR_ADMIN": "127.0.0.1:0",
        **env,
    }
    with sidecar_before(way, upstream, env=settings, cwd=cwd) as process:
        yield SidecarProcess(process)
