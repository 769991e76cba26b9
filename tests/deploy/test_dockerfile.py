"""The Dockerfile, by hadolint's rules, and what of the repository reaches the build."""

from __future__ import annotations

import re

from tests.support.built import ROOT
from tests.support.deployment import DEPLOY, PROGRAMS, tool

TEXT = (DEPLOY / "Dockerfile").read_text()


def test_hadolint_finds_nothing() -> None:
    tool(PROGRAMS / "hadolint", DEPLOY / "Dockerfile")


def test_the_user_is_a_number() -> None:
    """Kubernetes cannot tell whether a name is root."""
    assert re.findall(r"^USER (\d+):(\d+)$", TEXT, re.MULTILINE) == [("65532", "65532")]


def test_everything_that_is_installed_is_locked() -> None:
    """Each `pip install` names a lock with hashes, or installs the wheel just built without dependencies."""
    installs = re.findall(r"pip\b[^&;]* install [^&;]*", TEXT.replace("\\\n", " "))
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_the_build_context_is_what_the_wheel_is_made_of() -> None:
    """An ignore file that lets nothing through but what it names: no secret and no data directory gets into a layer."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {"!sidecar", "!session_service", "!memory_service", "!service_kit", "!pyproject.toml"} <= set(lines)
    assert not {"!tests", "!.env", "!data", "!docs"} & set(lines)


def test_its_version_is_the_projects() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"ARG VERSION={version[1]}" in TEXT
    assert f"newTag: {version[1]}" in (DEPLOY / "kubernetes/image/kustomization.yaml").read_text()
