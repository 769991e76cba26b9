"""What stands in deploy/, read as the tools that use it read it."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.built import ROOT

DEPLOY = ROOT / "deploy"
KUSTOMIZATIONS = sorted(path.parent for path in (DEPLOY / "kubernetes").rglob("kustomization.yaml"))
SHIPPED = [path for path in KUSTOMIZATIONS if "overlays" in path.parts]
PROGRAMS = ROOT / ".venv" / "bin"

Manifest = dict[str, Any]


def tool(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a checking tool; its complaints are the failure's message."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@functools.cache
def rendered(directory: Path) -> str:
    """The manifests of a kustomization, as `kubectl apply -k` would send them."""
    return tool(PROGRAMS / "kubectl", "kustomize", directory).stdout


def manifests(directory: Path) -> list[Manifest]:
    """The same, parsed."""
    return [document for document in yaml.safe_load_all(rendered(directory)) if document]


def pods(documents: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pod specification of each workload, with its kind and name."""
    for document in documents:
        if "template" in document.get("spec", {}):
            yield f"{document['kind']}/{document['metadata']['name']}", document["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    """Its containers of both kinds."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def environment(container: Manifest) -> dict[str, str | None]:
    """Its variables; None for one whose value is in a secret."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", ())}


def compose() -> Manifest:
    """The compose file, its anchors resolved."""
    parsed: Manifest = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return parsed


def alerts() -> list[Manifest]:
    """Every alert rule."""
    groups = yaml.safe_load((DEPLOY / "observability" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> Manifest:
    """The Grafana dashboard."""
    parsed: Manifest = json.loads((DEPLOY / "observability" / "grafana" / "session-sidecar.json").read_text())
    return parsed


def metric_names(expression: str) -> set[str]:
    """Names of our own metrics in a PromQL expression, without the suffixes of a histogram's series."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bsidecar_[a-z_]+\b", expression)}
