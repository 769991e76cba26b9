"""The workflow file of the public forge: valid, and it runs what CI runs here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

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


def test_the_image_of_a_release_has_the_tag_that_the_manifests_name(tmp_path: Path) -> None:
    """The tag `v1.2.3` of the repository is the image `1.2.3`. The name of a branch may hold a slash, and is no tag."""
    (step,) = [step for step in JOBS["image"]["steps"] if step.get("id") == "version"]
    (build,) = [step for step in JOBS["image"]["steps"] if "build-push-action" in step.get("uses", "")]
    assert build["with"]["tags"].endswith(":${{ steps.version.outputs.version }}")
    tags = {}
    for kind, name in (("tag", "v1.2.3"), ("branch", "feature/x")):
        output = tmp_path / kind
        given = {"GITHUB_REF_TYPE": kind, "GITHUB_REF_NAME": name, "GITHUB_SHA": "abc", "GITHUB_OUTPUT": str(output)}
        subprocess.run(["bash", "-eu", "-c", step["run"]], env=os.environ | given, check=True)
        tags[kind] = output.read_text()
    assert tags == {"tag": "version=1.2.3\n", "branch": "version=abc\n"}
