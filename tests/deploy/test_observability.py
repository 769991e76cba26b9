"""Alerts and dashboard: accepted by Prometheus and Grafana, and about metrics that exist."""

from __future__ import annotations

import json
import shutil

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.built import ROOT
from tests.support.deployment import DEPLOY, alerts, dashboard, metric_names, tool

OBSERVABILITY = DEPLOY / "observability"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def documented() -> set[str]:
    """Metrics that docs/metrics.md has a row for; another test compares that page with the code."""
    (page,) = (ROOT / "docs").rglob("metrics.md")
    return metric_names(page.read_text())


@needs_promtool
def test_prometheus_accepts_its_configuration_and_the_alerts() -> None:
    tool("promtool", "check", "config", "--syntax-only", OBSERVABILITY / "prometheus.yaml")
    tool("promtool", "check", "rules", OBSERVABILITY / "alerts.yaml")


@needs_promtool
def test_each_alert_fires_when_it_should_and_none_when_all_is_well() -> None:
    tool("promtool", "test", "rules", OBSERVABILITY / "alerts.test.yaml")


def test_every_alert_is_covered_by_the_unit_tests() -> None:
    """The count in the file of unit tests is the number of alerts."""
    assert f"value: {len(alerts())}" in (OBSERVABILITY / "alerts.test.yaml").read_text()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_is_about_metrics_that_exist(alert: dict[str, str]) -> None:
    assert metric_names(alert["expr"]) <= documented()


def panels() -> list[dict[str, object]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def test_every_panel_is_about_metrics_that_exist() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]  # type: ignore[attr-defined]
    used = set[str]().union(*map(metric_names, expressions))
    assert used <= documented()
    assert len(used) >= 15


def differences(ours: object, theirs: object, where: str = "") -> list[str]:
    """Paths in `ours` that `theirs` does not have with the same value."""
    if isinstance(ours, dict):
        known = theirs if isinstance(theirs, dict) else {}
        return [
            found
            for key, value in ours.items()
            for found in (differences(value, known[key], f"{where}/{key}") if key in known else [f"{where}/{key}"])
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{where}/{i}")]
    return [] if ours == theirs else [where]


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """Read into the types that Grafana generates from its own schema and written again, nothing is lost."""
    register_default_plugins()
    ours = dashboard()
    theirs = json.loads(json.dumps(Dashboard.from_json(ours), cls=JSONEncoder))
    assert differences(ours, theirs) == []


def test_panels_do_not_overlap() -> None:
    cells = [
        (grid["x"] + dx, grid["y"] + dy)
        for panel in dashboard()["panels"]
        for grid in [panel["gridPos"]]
        for dx in range(grid["w"])
        for dy in range(grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
