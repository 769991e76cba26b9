"""The systemd units: accepted by systemd, and rated as safe by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.built import ROOT
from tests.support.deployment import DEPLOY, tool

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SAFE = 3.0
"""Upper bound of `systemd-analyze security`, which goes from 0 (safe) to 10."""

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@needs_systemd
@each_unit
def test_systemd_accepts_it(unit: Path, tmp_path: Path) -> None:
    """With the program at hand in place of /opt/session-sidecar, so that only the unit can be wrong."""
    copy = tmp_path / unit.name.replace("@.", "@9901.")
    copy.write_text(unit.read_text().replace("/opt/session-sidecar", str(ROOT / ".venv")))
    done = tool("systemd-analyze", "verify", "--man=no", copy)
    assert [line for line in done.stderr.splitlines() if unit.name.partition("@")[0] in line] == []


@needs_systemd
@each_unit
def test_systemd_rates_it_as_safe(unit: Path) -> None:
    done = tool("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold", str(int(SAFE * 10)), unit)
    exposure = float(done.stdout.rpartition("exposure level for ")[2].split(": ")[1].split()[0])
    assert exposure < SAFE


@each_unit
def test_it_may_take_longer_to_stop_than_to_drain(unit: Path) -> None:
    values = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#")
    assert int(values["TimeoutStopSec"]) > 30
    assert values["RestartPreventExitStatus"] == "2"


def test_instances_of_the_template_share_a_port_and_nothing_else() -> None:
    """Each has its own admin address and its own outbox."""
    text = (DEPLOY / "systemd" / "session-sidecar@.service").read_text()
    variables = dict(
        line.removeprefix("Environment=").split("=", 1) for line in text.splitlines() if line.startswith("Environment=")
    )
    assert variables["SIDECAR_REUSE_PORT"] == "true"
    assert "%i" in variables["SIDECAR_ADMIN"]
    assert "%i" in variables["SIDECAR_OUTBOX"]
    assert json.dumps(variables).count("SIDECAR_LISTEN") == 0
