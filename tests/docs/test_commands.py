"""Every command that the documentation shows is run or, where it needs another machine, checked as far as possible.

Commands stand in ```bash blocks, and behind `$` in ```console blocks. Each page is played from top to bottom in a
directory of its own, with the addresses of a platform that `./scripts/run` started. A command that nothing
here knows how to run fails the test: there is no list of exceptions.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.support.built import ROOT
from tests.support.platform import FREE_PORTS
from tests.support.processes import Running

PROGRAMS = ROOT / ".venv" / "bin"
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "deploy/README.md",
]
BLOCK = re.compile(r"^```(bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def commands(page: Path) -> list[str]:
    """The commands of a page, in order, each as one line."""
    found = []
    for language, block in BLOCK.findall(page.read_text()):
        whole = re.sub(r"\\\n\s*", " ", block)
        whole = re.sub(r"&&\n\s*", "&& ", whole)
        lines = whole.splitlines()
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found += [line for line in lines if line.strip() and not line.startswith("#")]
    return found


@dataclass
class Reader:
    """A reader of a page: a directory, the variables exported so far, and a running platform."""

    directory: Path
    addresses: dict[str, str]
    exported: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        return {**kept, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", **self.exported}

    def translated(self, command: str) -> str:
        """The command with the addresses and names of this run."""
        for shown, real in self.addresses.items():
            command = command.replace(shown, real)
        return command

    def run(self, command: str) -> None:
        """Run with bash; the command must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.translated(command)],
            cwd=self.directory, env=self.environment(), capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def serve(self, command: str) -> None:
        """Start what runs until it is stopped, and wait for its ready line."""
        program, *arguments = shlex.split(command, comments=True)
        started = Running([str(PROGRAMS / program), *arguments], self.environment() | FREE_PORTS, self.directory)
        try:
            started.wait_ready("sidecar" if program == "session-sidecar" else program)
            assert started.stop() == 0
        finally:
            started.kill()
            started.close()

    def export(self, command: str) -> None:
        """Remember variables for the commands that follow."""
        for word in shlex.split(command, comments=True)[1:]:
            name, _, value = word.partition("=")
            self.exported[name] = value

    def files_exist(self, command: str) -> None:
        """For what needs root, a cluster or a Docker daemon: every file of the repository that it names is there."""
        named = re.findall(r"(?<![\w/@.-])(?:deploy|scripts|benchmarks)/[\w./*@-]+", command)
        assert all(list(ROOT.glob(name)) for name in named), command

    def is_a_script(self, command: str) -> None:
        """Scripts that are run by CI itself or take an hour: they are there, executable, and bash can read them."""
        script = ROOT / shlex.split(command, comments=True)[0]
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", script], check=True)

    def unit_exists(self, command: str) -> None:
        """systemctl: the unit, or the template of the instance, is in deploy/."""
        for unit in shlex.split(command, comments=True)[3:]:
            assert (ROOT / "deploy/systemd" / (re.sub(r"@.*", "@", unit) + ".service")).is_file()

    def jobs_exist(self, command: str) -> None:
        """`kubectl wait` and `delete`: each job is in the manifests."""
        named = set(re.findall(r"\b(?:job/)?(\w+-migrate)\b", command))
        jobs = yaml.safe_load_all((ROOT / "deploy/kubernetes/migrate/jobs.yaml").read_text())
        assert named
        assert named <= {job["metadata"]["name"] for job in jobs}

    def renders(self, command: str) -> None:
        """`kubectl apply -k`: the directory renders; other tests validate what it renders to."""
        directory = ROOT / shlex.split(command)[-1]
        subprocess.run([PROGRAMS / "kubectl", "kustomize", directory], check=True, capture_output=True)

    def installs(self, command: str) -> None:
        """`pip install` of this project: packaging tests do it in an empty environment; here the extras are real."""
        metadata = (ROOT / "pyproject.toml").read_text()
        assert all(f"\n{extra} = [" in metadata for extra in re.findall(r"\[(\w+)\]", command.partition("#")[0]))


KINDS: list[tuple[str, Callable[[Reader, str], None]]] = [
    (r"export ", Reader.export),
    (r"curl ", Reader.run),
    (r"session-sidecar (serve|up)\b|(session|memory)-service serve\b", Reader.serve),
    (r"session-sidecar |session-service |memory-service ", Reader.run),
    # tests/doors/test_authorizer_pages.py runs these, where the proxies are installed.
    (r"SIDECAR_LISTEN=\S+ SIDECAR_AUTHZ=\S+ session-sidecar serve$", Reader.files_exist),
    (r"envoy |mkdir -p data/nginx/logs && nginx |caddy |cd deploy/traefik && traefik ", Reader.files_exist),
    (r"kubectl apply -k ", Reader.renders),
    (r"kubectl (wait|delete job) ", Reader.jobs_exist),
    # tests/deploy/test_kubernetes.py compares these with what the pods need.
    (r"kubectl create secret generic |kubectl config set-context |kind load docker-image ", Reader.files_exist),
    (r"systemctl daemon-reload$|install -m 600 /dev/null /etc/|echo SIDECAR_\w+=\S+ >> /etc/", Reader.files_exist),
    (r"systemctl ", Reader.unit_exists),
    (r"docker |cp deploy/|python3 -m venv /opt|/opt/session-sidecar/bin/|uv pip compile ", Reader.files_exist),
    (r"(\./)?(scripts/|benchmarks/run|tests/agreement/go/build)|\.ci/run", Reader.is_a_script),
    (r"pip install ", Reader.installs),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `./scripts/run` starts, and the addresses that stand for those in the documentation."""
    started = Running([str(ROOT / "scripts/run")], FREE_PORTS, tmp_path_factory.mktemp("quick-start"))
    try:
        started.wait_ready("up")
        found = started.addresses
        yield {
            shown.format(host): real
            for host in ("127.0.0.1", "localhost")
            for shown, real in (
                ("{}:8080", found["listen"]),
                ("{}:9901", found["admin"]),
                ("{}:8205", found["session-service"]),
                ("{}:18080", found["memory-service"]),
            )
        }
        assert started.stop() == 0
    finally:
        started.kill()
        started.close()


@needs_curl
@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_every_command_of_a_page_works(page: Path, platform: dict[str, str], tmp_path: Path) -> None:
    reader = Reader(tmp_path, platform)
    for command in commands(page):
        play = next((play for pattern, play in KINDS if re.match(pattern, command)), None)
        assert play is not None, f"no test knows how to run: {command}"
        play(reader, command)


@needs_curl
def test_the_quick_start_says_what_happens(platform: dict[str, str], tmp_path: Path) -> None:
    """The answers that the page promises, in its order: stored, owned by me, 403, deleted, 410."""
    page = ROOT / "docs/users/quick-start.md"
    reader = Reader(tmp_path, {**platform, "first-steps": "promised"})
    printed = []
    for command in (line for line in commands(page) if line.startswith("curl ")):
        words = ["bash", "-c", f"{reader.translated(command)} -s"]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
        printed.append(done.stdout)
    stored, session, refused, _deleted, gone, metrics = printed
    assert '"success":true' in stored.replace(" ", "")
    assert '"user_id":"me"' in session.replace(" ", "")
    assert "session_owned_by_another_user" in refused
    assert "session_gone" in gone
    assert "sidecar_requests_total" in metrics


def test_the_readme_needs_two_commands() -> None:
    """Start it, then see that it works."""
    first, second = commands(ROOT / "README.md")[:2]
    assert first.startswith("./scripts/run")
    assert second.count("curl ") == 2
