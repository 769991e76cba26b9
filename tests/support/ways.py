"""The ways to put the sidecar between a client and a memory service, so that one test can go through each of them.

The end-to-end tests ask for `way`. What they cannot ask of `wrap`, because it is about the connection to an upstream,
stands with its reason in `NOT_FOR_WRAP` of tests/e2e/test_wrap.py. By default a part of the others
runs through `wrap`, and all of them with --long.
"""

from __future__ import annotations

import contextlib
import enum
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support import relay
from tests.support.processes import Running, running


class Way(enum.Enum):
    """How the sidecar runs."""

    FAST_PATH = "fast path"
    APPLICATION = "application"
    WRAP = "wrap"

    def __str__(self) -> str:
        return self.value


WAYS = (Way.FAST_PATH, Way.APPLICATION, Way.WRAP)
COMMANDS = (Way.FAST_PATH, Way.WRAP)
"""For tests that say nothing of the two paths through the proxy."""
THROUGH_WRAP_BY_DEFAULT = {
    "test_first_write.py": "real services, REST and the official MCP client",
    "test_metrics_truth.py": "each figure of the metrics",
    "test_order.py": "nothing reaches the memory service before its session exists",
    "test_wrap.py": "the table of decisions, and what `wrap` alone does",
}
"""The end-to-end tests that run through `wrap` by default, and what they show; the others do so with --long."""


@contextlib.contextmanager
def sidecar_before(way: Way, upstream: str, *, env: Mapping[str, str], cwd: Path) -> Iterator[Running]:
    """Run a sidecar in front of a server of the test; under `wrap` the hosted application hands requests on to it."""
    if way is Way.WRAP:
        shutil.copy(str(relay.__file__), cwd / "relay.py")
        env = {**env, "RELAY_TO": upstream}
        command = ("wrap", "relay:app")
    else:
        fast_path = str(way is Way.FAST_PATH).lower()
        env = {"SIDECAR_FAST_LANE": fast_path, **env, "SIDECAR_UPSTREAM": upstream}
        command = ("serve",)
    with running("sidecar", *command, role="sidecar", env=env, cwd=cwd) as process:
        yield process
