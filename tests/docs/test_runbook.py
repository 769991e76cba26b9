"""The runbook has a row for everything that may wake an operator: reasons, alerts, and every warning of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.tables import published
from sidecar.model import Reason
from sidecar.observability.catalog import CATALOG, Described
from sidecar.observability.remedies import REMEDIES
from tests.support.built import ROOT
from tests.support.deployment import alerts

RUNBOOK = next((ROOT / "docs").rglob("operating.md")).read_text()
SOURCES = [*sorted((ROOT / "sidecar").rglob("*.py")), ROOT / "service_kit/consul/registration.py"]
LOUD = {"warning", "error", "critical", "exception"}
NOT_AN_EVENT = {"interrupted", "request failed"}
"""A person's Ctrl-C; a line of the services."""


def rows() -> set[str]:
    """What stands in code type in the first cell of a row."""
    return {name for line in RUNBOOK.splitlines() for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_row_and_advice(reason: Reason) -> None:
    assert reason.value in rows()
    assert all(sentence.endswith(".") for sentence in REMEDIES[reason])


@pytest.mark.parametrize("alert", [alert["alert"] for alert in alerts()])
def test_every_alert_has_a_row(alert: str) -> None:
    assert alert in rows()


def warnings(file: Path) -> Iterator[str]:
    """The constant beginning of each message that the file logs at `warning` or above."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOUD):
            continue
        if not re.search(r"\b_?log(ger)?$", ast.unparse(node.func.value)) or not node.args:
            continue
        match node.args[0]:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
                yield text.strip()


FOUND = sorted({text for file in SOURCES for text in warnings(file)} - NOT_AN_EVENT)


@pytest.mark.parametrize("text", FOUND)
def test_every_warning_of_the_code_has_a_row(text: str) -> None:
    assert any(text.startswith(row) for row in rows() if len(row) > 10)


def test_the_search_for_warnings_finds_them() -> None:
    assert len(FOUND) >= 12
    assert any("breaker" not in text and "session service" in text for text in FOUND)


# Names of metrics: https://prometheus.io/docs/practices/naming/ -------------------------------------------------------

UNITS = ("_milliseconds", "_ms", "_minutes", "_kilobytes", "_percent", "_millis", "_micros")


@pytest.mark.parametrize("metric", CATALOG.values(), ids=lambda metric: metric.name)
def test_names_of_metrics_follow_the_conventions(metric: Described) -> None:
    """One prefix, base units, `_total` on counters alone, no type or label in the name, lower case."""
    name = published(metric)
    assert re.fullmatch(r"sidecar(_[a-z]+)+", name)
    assert name.endswith("_total") is (metric.type == "counter")
    assert name.endswith("_info") is (metric.type == "info")
    assert not any(unit in f"{name}_" for unit in UNITS)
    if metric.type == "histogram":
        assert name.endswith("_seconds")
    assert not any(word in name.split("_") for word in ("counter", "gauge", "histogram", "count", "sum", "bucket"))
    assert not any(label in name.split("_") for label in metric.labels)
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)
    assert not {"le", "quantile", "job", "instance"}.intersection(metric.labels)
    assert metric.help.endswith(".")


def test_every_event_of_the_page_about_log_lines_is_one_of_the_code() -> None:
    """And each of its fields is a name or a text there."""
    page = (ROOT / "docs/operators/configuration.md").read_text()
    table = page.partition("| `event` | level |")[2].partition("\n\n")[0]
    shown = {name for line in table.splitlines()[2:] for name in re.findall(r"`([\w ]+)`", line)}
    assert len(shown) > 20
    nodes = [node for file in SOURCES for node in ast.walk(ast.parse(file.read_text()))]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {node.arg for node in nodes if isinstance(node, ast.keyword)}
    assert shown - texts - names == set()
