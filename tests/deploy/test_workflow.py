"""The workflow file of the public forge: valid, and it runs what CI runs here."""

from __future__ import annotations

import yaml

from tests.support.built import ROOT
from tests.support.deployment import PROGRAMS, tool

WORKFLOW = ROOT / ".github/workflows/ci.yaml"
JOBS = yaml.safe_load(WORKFLOW.read_text())["jobs"]


def test_the_forge_accepts_it() -> None:
    tool(PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)


def test_every_job_has_a_time_limit() -> None:
    tool(PROGRAMS / "check-jsonschema", "--builtin-schema", "custom.github-workflows-require-timeout", WORKFLOW)


def test_it_runs_what_a_change_must_pass_and_builds_what_is_released() -> None:
    """Nothing is packaged or published before .ci/run has passed."""
    assert ".ci/run" in [step.get("run") for step in JOBS["check"]["steps"]]
    assert {"package", "image"} <= {name for name, job in JOBS.items() if job.get("needs") == "check"}
    assert JOBS["publish"]["needs"] == "package"


def test_scripts_that_it_runs_exist() -> None:
    runs = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    scripts = {word for run in runs for word in run.split() if word.startswith(("scripts/", ".ci/"))}
    assert all((ROOT / script).is_file() for script in scripts)
